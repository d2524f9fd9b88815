//! Requests made from client profiles: open loop, one generator, closed loop; with conversations in each.
//!
//! A *first request* opens a conversation or stands alone. First requests are numbered in the order in which they are sent, and all
//! that is drawn for them comes from streams read in that order; what is drawn for follow-ups comes from a stream of their own
//! conversation and turn. The number of a conversation's turns is drawn when it opens. So nothing that an engine does can
//! change a length, and a limit on the number of requests cuts the same requests whatever serves them.
//!
//! A follow-up is sent a think time after the reply has *ended*; its prompt is the previous prompt, the reply and new user
//! input, of its conversation's own profile.
//!
//! `one_generator` draws the profile of each first request by weight and waits that profile's gap, as the original project does:
//! the rate is 1 / (sum of weight * mean gap). It departs from the original where that cannot happen in any deployment:
//! - the generator does not wait for uploads, which only delay the request they belong to;
//! - follow-ups do not wait for the generator to wake, take no first request's place, and draw from their own profile;
//! - think time counts from the end of the reply, not from the dispatch of the request before it;
//! - `max_turns_per_session: 1` allows no follow-up;
//! - `user_priority_dist_config` has an effect; a follow-up shares its conversation's prefix instead of drawing a new one;
//! - a prompt contains its prefix: its length is what was drawn, whatever the prefix's length.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;

use crate::config::Diagnostic;
use crate::queue::Queue;
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::adapters::Apart;
use crate::workload::prefix::fitting;
use crate::workload::profile::{Lengths, Profile};
use crate::workload::request::{Request, Segment, SegmentId, Source};
use crate::workload::rhythm::Rhythm;
use crate::workload::sampler::MAX_TOKENS;
use crate::workload::source::Transit;
use crate::workload::starts::{Starts, draw_index};
use crate::workload::terms::Terms;

/// What holds for all conversations.
pub(crate) struct Rules {
    pub max_turns: u16,
    pub continue_probability: f64,
    /// A follow-up's prompt holds the whole conversation so far.
    pub accumulate: bool,
    /// Every request belongs to a session, alone or not.
    pub all_in_sessions: bool,
    /// Nothing is sent at or after this time.
    pub end: Time,
    /// No more requests than this, all turns counted.
    pub max_requests: Option<u64>,
    pub rate_scale: f64,
    /// How the rate changes with time; none: it does not.
    pub rhythm: Option<Rhythm>,
}

/// Requests made from client profiles.
pub(crate) struct Generated {
    seed: u64,
    profiles: Box<[Profile]>,
    /// Cumulative weights of the profiles' chains; empty when each has one.
    prefix_weights: Box<[f64]>,
    starts: Starts,
    rules: Rules,
    transit: Transit,
    terms: Terms,
    /// Requests that may still be promised; each conversation is promised whole.
    remaining: u64,
    /// First requests so far.
    ordinal: u32,
    sessions: u32,
    next_id: u32,
    segments: u32,
    apart: Apart,
    pending: Queue<Pending>,
    /// Conversations with a turn at the server and a later one to come, by the id of the request there.
    waiting: FxHashMap<u32, Conversation>,
    notes: Vec<Diagnostic>,
    changed: Changed,
}

/// How often a draw could not be taken as it was.
#[derive(Default)]
struct Changed {
    too_long: u64,
    raised: u64,
    prefix_cut: u64,
    overgrown: u64,
}

/// A conversation between two of its turns.
struct Conversation {
    ordinal: u32,
    session: u32,
    profile: u16,
    turns: u16,
    /// Turn last sent.
    turn: u16,
    /// Prompt and output of that turn, tokens.
    prompt: u32,
    output: u32,
    chain: u32,
    /// Everything said so far, when follow-ups contain it.
    segments: Vec<Segment>,
}

/// A request on its way to the server.
struct Pending {
    arrival: Time,
    ordinal: u32,
    turn: u16,
    turns: u16,
    profile: u16,
    sent: Time,
    input: u32,
    output: u32,
    priority: i32,
    chain: u32,
    session: Option<u32>,
    /// The conversation so far, for a follow-up.
    conversation: Option<Box<Conversation>>,
}

impl Pending {
    /// Arrival, then the age of the conversation: no two are equal, so the order does not depend on when they were pushed.
    fn key(&self) -> (Time, u32, u16) {
        (self.arrival, self.ordinal, self.turn)
    }
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Pending {}
impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Pending {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Generated {
    #[allow(clippy::too_many_arguments, reason = "called once, by the resolver that made each of them")]
    pub fn new(
        seed: u64,
        profiles: Box<[Profile]>,
        prefix_weights: Box<[f64]>,
        named_segments: u32,
        starts: Starts,
        rules: Rules,
        transit: Transit,
        terms: Terms,
        clients: u32,
        notes: Vec<Diagnostic>,
    ) -> Generated {
        let mut source = Generated {
            seed,
            profiles,
            prefix_weights,
            starts,
            // Ids are 32 bits.
            remaining: rules.max_requests.unwrap_or(u64::MAX).min(u64::from(u32::MAX)),
            rules,
            transit,
            terms,
            ordinal: 0,
            sessions: 0,
            next_id: 0,
            segments: named_segments,
            apart: Apart::default(),
            pending: Queue::new(),
            waiting: FxHashMap::default(),
            notes,
            changed: Changed::default(),
        };
        for _ in 0..clients {
            source.next_client_start(Time::ZERO);
        }
        source
    }

    /// Sends every first request that may arrive before the first of those on their way.
    #[inline(always)]
    fn fill(&mut self) {
        if !matches!(self.starts, Starts::Closed { .. }) {
            self.fill_by_the_clock();
        }
    }

    fn fill_by_the_clock(&mut self) {
        while let Some((shown, profile)) = self.starts.peek() {
            let sent = self.rules.rhythm.as_ref().map_or(shown, |rhythm| rhythm.when(shown));
            if sent == Time::NEVER {
                return;
            }
            let known = self.pending.peek().map(|first| first.arrival);
            if self.remaining == 0 || sent >= self.rules.end || known.is_some_and(|arrival| sent + self.transit.shortest() > arrival) {
                return;
            }
            self.start(sent, profile);
            self.starts.advance(&mut self.profiles, self.rules.rate_scale);
        }
    }

    /// In a closed loop, a client that has become free sends a first request.
    fn next_client_start(&mut self, now: Time) {
        if self.remaining == 0 || now >= self.rules.end {
            return;
        }
        if let Starts::Closed { choice } = &mut self.starts {
            let profile = choice.draw();
            self.start(now, profile);
        }
    }

    fn start(&mut self, sent: Time, index: usize) {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let profile = &mut self.profiles[index];
        let drawn = profile.lengths.input.sample_tokens(&mut profile.inputs, &mut self.changed.too_long);
        let output = profile.lengths.output.sample_tokens(&mut profile.outputs, &mut self.changed.too_long);
        let priority = priority(&profile.lengths, &mut profile.priorities);
        let chain = if self.prefix_weights.len() < 2 { 0 } else { draw_index(&self.prefix_weights, &mut profile.prefix_choice) };
        let opens = profile.conversation_start.chance(profile.conversational);
        let input = with_own_prefix(drawn, profile.own_prefix_tokens, &mut self.changed.raised);
        let mut turns = 1;
        if opens {
            let mut stream = Stream::new(self.seed, Purpose::ConversationTurns, u64::from(ordinal));
            turns = 2.min(self.rules.max_turns);
            while turns < self.rules.max_turns && stream.chance(self.rules.continue_probability) {
                turns += 1;
            }
            turns = turns.min(u16::try_from(self.remaining).unwrap_or(u16::MAX));
        }
        self.remaining -= u64::from(turns);
        let session = (turns > 1 || self.rules.all_in_sessions).then(|| {
            self.sessions += 1;
            self.sessions - 1
        });
        self.pending.push(Pending {
            arrival: self.transit.arrival(sent, input),
            ordinal,
            turn: 0,
            turns,
            profile: index as u16,
            sent,
            input,
            output,
            priority,
            chain: chain as u32,
            session,
            conversation: None,
        });
    }

    /// The next turn of a conversation whose last reply ended at `now`; false when there is none after all.
    fn follow_up(&mut self, mut conversation: Conversation, now: Time) -> bool {
        let profile = &self.profiles[usize::from(conversation.profile)];
        let turn = conversation.turn + 1;
        let mut stream = Stream::new(self.seed, Purpose::FollowUp, (u64::from(conversation.ordinal) << 16) | u64::from(turn));
        let sent = now + Time::from_s(profile.think_s.sample(&mut stream));
        let said = profile.lengths.input.sample_tokens(&mut stream, &mut self.changed.too_long);
        let output = profile.lengths.output.sample_tokens(&mut stream, &mut self.changed.too_long);
        let priority = priority(&profile.lengths, &mut stream);
        if sent >= self.rules.end {
            // The client is still thinking when the time is over.
            return true;
        }
        let input = if self.rules.accumulate {
            u64::from(conversation.prompt) + u64::from(conversation.output) + u64::from(said)
        } else {
            u64::from(with_own_prefix(said, profile.own_prefix_tokens, &mut self.changed.raised))
        };
        let Some(input) = u32::try_from(input).ok().filter(|&input| input <= MAX_TOKENS) else {
            self.changed.overgrown += 1;
            return false;
        };
        conversation.turn = turn;
        self.pending.push(Pending {
            arrival: self.transit.arrival(sent, input),
            ordinal: conversation.ordinal,
            turn,
            turns: conversation.turns,
            profile: conversation.profile,
            sent,
            input,
            output,
            priority,
            chain: conversation.chain,
            session: Some(conversation.session),
            conversation: Some(Box::new(conversation)),
        });
        true
    }

    fn name_segment(&mut self) -> SegmentId {
        self.segments += 1;
        SegmentId(self.segments - 1)
    }

    /// Names what the request shares, and keeps its conversation until the reply has ended.
    fn contents(&mut self, pending: &mut Pending, id: u32, adapter: u16) -> (Box<[Segment]>, Option<SegmentId>) {
        let goes_on = pending.turn + 1 < pending.turns;
        let chain = &self.profiles[usize::from(pending.profile)].chains[pending.chain as usize];
        if !goes_on && pending.conversation.is_none() && chain.is_empty() {
            return (Box::default(), None);
        }
        let conversation = pending.conversation.take();
        let with_history = self.rules.accumulate && conversation.is_some();
        let mut segments = match conversation {
            Some(conversation) if with_history => conversation.segments,
            _ => {
                let leading = fitting(chain, pending.input).0;
                if leading.len() < chain.len() {
                    self.changed.prefix_cut += 1;
                }
                let mut leading = leading.to_vec();
                let named = &mut self.segments;
                self.apart.rename(&mut leading, adapter, || {
                    *named += 1;
                    SegmentId(*named - 1)
                });
                leading
            }
        };
        let mut output_segment = None;
        if goes_on && self.rules.accumulate {
            let named: u32 = segments.iter().map(|segment| segment.tokens).sum();
            if pending.input > named {
                let own = self.name_segment();
                segments.push(Segment { id: own, tokens: pending.input - named });
            }
            output_segment = Some(self.name_segment());
        }
        let in_prompt: Box<[Segment]> = segments.as_slice().into();
        if goes_on {
            if let Some(reply) = output_segment {
                segments.push(Segment { id: reply, tokens: pending.output });
            }
            let conversation = Conversation {
                ordinal: pending.ordinal,
                // Only a conversation of one turn may have no session.
                session: pending.session.unwrap_or(0),
                profile: pending.profile,
                turns: pending.turns,
                turn: pending.turn,
                prompt: pending.input,
                output: pending.output,
                chain: pending.chain,
                segments: if self.rules.accumulate { segments } else { Vec::new() },
            };
            self.waiting.insert(id, conversation);
        }
        (in_prompt, output_segment)
    }
}

fn priority(lengths: &Lengths, stream: &mut Stream) -> i32 {
    let Some(priority) = &lengths.priority else { return 0 };
    let drawn = priority.sample(stream);
    // `as` saturates.
    if f64::from(drawn as i32) == drawn { drawn as i32 } else { drawn.round_ties_even() as i32 }
}

/// The prompt's length, raised where the profile's own prefix would leave no token for the client's text.
fn with_own_prefix(drawn: u32, prefix_tokens: u32, raised: &mut u64) -> u32 {
    if prefix_tokens > 0 && drawn <= prefix_tokens {
        *raised += 1;
        return prefix_tokens + 1;
    }
    drawn
}

impl Source for Generated {
    fn next_arrival(&mut self) -> Option<Time> {
        self.fill();
        self.pending.peek().map(|first| first.arrival)
    }

    fn take(&mut self) -> Option<Request> {
        self.fill();
        let mut first = self.pending.pop()?;
        let id = self.next_id;
        self.next_id += 1;
        let adapter = self.terms.adapter(u64::from(first.ordinal));
        let (segments, output_segment) = self.contents(&mut first, id, adapter);
        let mut request = Request {
            id,
            profile: first.profile,
            session: first.session,
            turn: first.turn,
            sent: first.sent,
            arrival: first.arrival,
            input_tokens: first.input,
            output_tokens: first.output,
            max_tokens: first.output,
            ignore_eos: true,
            hangs_up: Time::NEVER,
            priority: first.priority,
            adapter,
            samples: 1,
            images: Default::default(),
            segments,
            output_segment,
        };
        self.terms.apply(&mut request, (u64::from(first.ordinal) << 16) | u64::from(first.turn));
        if request.samples > 1 && request.unnamed_tokens() > 0 {
            request.name_rest(self.name_segment());
        }
        Some(request)
    }

    fn ended(&mut self, request_id: u32, now: Time) {
        let goes_on = match self.waiting.is_empty() {
            true => None,
            false => self.waiting.remove(&request_id),
        };
        let busy = goes_on.is_some_and(|conversation| self.follow_up(conversation, now));
        if !busy {
            self.next_client_start(now);
        }
    }

    fn waits_for_replies(&self) -> bool {
        let conversations = self.rules.max_turns > 1 && self.profiles.iter().any(|profile| profile.conversational > 0.0);
        conversations || matches!(self.starts, Starts::Closed { .. })
    }

    fn segment_count(&self) -> u32 {
        self.segments
    }

    fn expected_requests(&self) -> Option<u64> {
        self.rules.max_requests
    }

    fn warnings(&self) -> Vec<Diagnostic> {
        let mut warnings = self.notes.clone();
        let changed = &self.changed;
        for (count, path, what) in [
            (
                changed.too_long,
                "workload.client_profiles",
                format!("lengths above {MAX_TOKENS} tokens were drawn and taken as {MAX_TOKENS}"),
            ),
            (
                changed.raised,
                "workload.client_profiles",
                "prompts were drawn shorter than shared_prefix_tokens and lengthened to hold it".to_owned(),
            ),
            (
                changed.prefix_cut,
                "workload.prefix_patterns",
                "prompts were shorter than their prefix, whose end they do not share".to_owned(),
            ),
            (
                changed.overgrown,
                "workload.client_profiles",
                format!("conversations ended early, before a prompt above {MAX_TOKENS} tokens"),
            ),
        ] {
            if count > 0 {
                warnings.push(Diagnostic::warning(path, format!("{count} {what}"), ""));
            }
        }
        warnings
    }
}
