//! A request, and the stream of them that a simulation draws from.

use crate::config::Diagnostic;
use crate::units::Time;

/// Identity of a run of token contents together with everything before it: two requests that name the same segment have
/// the same tokens from the start of the prompt to the segment's end, and the same LoRA adapter. Numbered densely from 0 by the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentId(pub u32);

/// A part of a prompt (or, as `Request::output_segment`, the reply).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub id: SegmentId,
    /// Length, tokens, at least 1.
    pub tokens: u32,
}

/// Images in a prompt: in a row, all of one size. Their tokens are part of the prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Images {
    pub count: u32,
    /// Prompt tokens that each takes, at least 1 where there are images.
    pub tokens: u32,
    /// Prompt tokens before the first one.
    pub first: u32,
}

/// One request as it reaches the server.
///
/// Contents matter only where they can be shared. `segments` names the leading part of the prompt that some other request
/// may share; the rest of the prompt (`input_tokens` minus the segments' sum) is text that occurs nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Position in the order in which the source gave them out ([`Source::take`]), from 0 and without holes.
    pub id: u32,
    /// Index of the client profile (0 for traces).
    pub profile: u16,
    /// Conversation, numbered from 0 in order of their first requests, if it belongs to one (under `arrival_model: one_generator`
    /// every request does).
    pub session: Option<u32>,
    /// Turn of the conversation, from 0.
    pub turn: u16,
    /// When the client sent it.
    pub sent: Time,
    /// When it reaches the server: sent plus upload and API time.
    pub arrival: Time,
    /// Prompt length, tokens, at least 1.
    pub input_tokens: u32,
    /// Output the request will really produce, tokens, at least 1.
    pub output_tokens: u32,
    /// Declared limit (`max_tokens`), at least `output_tokens`. Engines that reserve, reserve by this. A reply that is shorter ends by an
    /// end-of-sequence token, which the engine learns only when that step's tokens are read.
    pub max_tokens: u32,
    /// The end-of-sequence token does not end the reply, as benchmark clients ask for; then `output_tokens == max_tokens`. Engines
    /// that reserve by expectation reserve all of `max_tokens` for such a request.
    pub ignore_eos: bool,
    /// When the client gives up if the reply has not ended by then; [`Time::NEVER`] when it waits as long as it takes.
    pub hangs_up: Time,
    /// Smaller is more urgent.
    pub priority: i32,
    /// LoRA adapter that serves it, numbered from 1; 0 is the model as it is.
    pub adapter: u16,
    /// Replies asked for (`n`), at least 1, each of `output_tokens` tokens. With several, `segments` covers the whole prompt, so that they
    /// can share it.
    pub samples: u32,
    /// The shareable leading part of the prompt, in order; the sum of lengths is at most `input_tokens`.
    pub segments: Box<[Segment]>,
    /// Images in the prompt.
    pub images: Images,
    /// Identity of prompt plus reply, when a later turn will contain both; its length is `output_tokens`. When present, `segments`
    /// covers the whole prompt.
    pub output_segment: Option<SegmentId>,
}

impl Request {
    /// A request by itself, which shares nothing, asks for one reply of exactly `output_tokens` tokens and waits as long as it takes.
    pub fn new(id: u32, arrival: Time, input_tokens: u32, output_tokens: u32) -> Request {
        Request {
            id,
            profile: 0,
            session: None,
            turn: 0,
            sent: arrival,
            arrival,
            input_tokens,
            output_tokens,
            max_tokens: output_tokens,
            ignore_eos: true,
            hangs_up: Time::NEVER,
            priority: 0,
            adapter: 0,
            samples: 1,
            segments: Box::default(),
            images: Images::default(),
            output_segment: None,
        }
    }

    /// The rest of the prompt that `segments` does not name, tokens.
    pub fn unnamed_tokens(&self) -> u32 {
        self.input_tokens.saturating_sub(self.segments.iter().map(|segment| segment.tokens).sum())
    }

    /// Names the rest of the prompt, which the replies to it share.
    pub(super) fn name_rest(&mut self, id: SegmentId) {
        let rest = Segment { id, tokens: self.unnamed_tokens() };
        self.segments = self.segments.iter().copied().chain([rest]).collect();
    }

    /// The reply ends by an end-of-sequence token before its declared limit.
    pub fn ends_by_eos(&self) -> bool {
        self.output_tokens < self.max_tokens
    }
}

/// A stream of requests in order of arrival at the server; of those that arrive together, the one whose conversation began first
/// comes first.
///
/// Randomness never depends on what the engine does: the lengths of the n-th request that opens a conversation (or stands alone),
/// and of each turn after it, are the same whatever serves them, so that two stacks are compared on the same requests. When a
/// next turn comes, and so the order and the ids of the requests, does depend on the replies.
pub trait Source {
    /// Arrival of the next request known now, or `None` when there is none until some request ends (or at all).
    fn next_arrival(&mut self) -> Option<Time>;

    /// Takes the next request. `None` exactly when `next_arrival` is `None`.
    fn take(&mut self) -> Option<Request>;

    /// The client has its full reply (or its rejection) to a request at `now`; called once for each. May make a new request known,
    /// never before `now`. A rejection does not end a conversation, since the turns must be the same whatever serves them.
    fn ended(&mut self, request_id: u32, now: Time);

    /// Whether `ended` can ever make a new request known. False lets the engine run through many ends in one go.
    fn waits_for_replies(&self) -> bool;

    /// Number of segments named so far: ids are below it.
    fn segment_count(&self) -> u32;

    /// Requests this source makes in all if its time limit does not end it before; `None` when only time ends it.
    fn expected_requests(&self) -> Option<u64>;

    /// What had to be changed in the requests given out so far, or in the document's words about them.
    fn warnings(&self) -> Vec<Diagnostic> {
        Vec::new()
    }
}
