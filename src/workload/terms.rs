//! What clients ask for beside prompt and reply: the declared limit, how many replies, whether the end of sequence ends the reply, how long they
//! wait. Drawn for each request by what it is and not by when it is taken, so it does not depend on what the engine does.

use crate::config::Diagnostic;
use crate::config::schema::{Distribution, Workload};
use crate::rng::{Purpose, Stream};
use crate::units::Time;
use crate::workload::adapters::AdapterChoice;
use crate::workload::request::{Images, Request};
use crate::workload::sampler::{MAX_TOKENS, Sampler};

/// Terms of all requests of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    seed: u64,
    ignore_eos: bool,
    declared: Option<Sampler>,
    timeout: Option<Time>,
    cancellation: Option<(f64, Sampler)>,
    replies: Option<Sampler>,
    /// How many images, and the tokens of one.
    images: Option<(Sampler, u32)>,
    adapters: Option<AdapterChoice>,
    /// Clients ask for none of it, adapters left out.
    plain: bool,
}

/// Most replies to one prompt.
const MOST_REPLIES: u32 = 1024;

impl Terms {
    /// Reads the terms; what they cannot be goes to `errors`.
    pub fn new(workload: &Workload, seed: u64, errors: &mut Vec<Diagnostic>) -> Terms {
        let mut sampler = |key: &str, distribution: &Distribution| match Sampler::new(distribution) {
            Ok(sampler) => sampler,
            Err(message) => {
                errors.push(Diagnostic::error(format!("workload.{key}"), message, ""));
                Sampler::fixed(1.0)
            }
        };
        let declared = workload.declared_max_tokens_dist_config.as_ref().map(|given| sampler("declared_max_tokens_dist_config", given));
        let cancellation = workload
            .cancellation
            .as_ref()
            .map(|given| (given.probability.clamp(0.0, 1.0), sampler("cancellation.after_s_dist_config", &given.after_s_dist_config)));
        let replies = match (&workload.n_dist_config, workload.n) {
            (Some(given), _) => Some(sampler("n_dist_config", given)),
            (None, Some(n)) if n > 1 => Some(Sampler::fixed(f64::from(n))),
            _ => None,
        };
        let images = workload
            .images
            .as_ref()
            .map(|given| (sampler("images.per_request_dist_config", &given.per_request_dist_config), given.tokens_per_image.max(1)));
        // Benchmark clients with synthetic lengths make the engine run to the length; recorded replies ended by themselves.
        let ignore_eos = workload.ignore_eos.unwrap_or(declared.is_none() && workload.trace.is_none());
        if ignore_eos && declared.is_some() {
            let message = "ignore_eos: true contradicts declared_max_tokens_dist_config: such a reply always has its declared length";
            errors.push(Diagnostic::error("workload.ignore_eos", message, "take one of the two out"));
        }
        let adapters = AdapterChoice::new(workload, seed, errors);
        let timeout = workload.client_timeout_s.map(Time::from_s);
        let plain = declared.is_none() && timeout.is_none() && cancellation.is_none() && replies.is_none() && images.is_none();
        Terms { seed, ignore_eos, declared, timeout, cancellation, replies, images, adapters, plain }
    }

    /// Whether some request wants several replies.
    pub fn several_replies(&self) -> bool {
        self.replies.is_some()
    }

    /// The adapter that serves a conversation or a row of a trace; `key` as below, without the turn.
    pub fn adapter(&self, key: u64) -> u16 {
        self.adapters.as_ref().map_or(0, |choice| choice.draw(key))
    }

    /// Puts the terms on a request. `key` is the same for the same request whatever serves it, below 2^56.
    #[inline(always)]
    pub fn apply(&self, request: &mut Request, key: u64) {
        request.ignore_eos = self.ignore_eos;
        if !self.plain {
            self.apply_drawn(request, key);
        }
    }

    #[inline(never)]
    fn apply_drawn(&self, request: &mut Request, key: u64) {
        let mut stream = match (&self.declared, &self.cancellation, &self.replies) {
            (None, None, None) => None,
            _ => Some(Stream::new(self.seed, Purpose::Terms, key)),
        };
        if let (Some(declared), Some(stream)) = (&self.declared, &mut stream) {
            // A reply is never longer than its limit: a draw below the reply's length is raised to it.
            request.max_tokens = declared.sample_tokens(stream, &mut 0).clamp(request.output_tokens, MAX_TOKENS);
        }
        if let Some(timeout) = self.timeout {
            request.hangs_up = request.sent + timeout;
        }
        if let (Some((probability, after_s)), Some(stream)) = (&self.cancellation, &mut stream)
            && stream.chance(*probability)
        {
            request.hangs_up = request.hangs_up.min(request.sent + Time::from_s(after_s.sample(stream)));
        }
        if let (Some(replies), Some(stream)) = (&self.replies, &mut stream) {
            request.samples = replies.sample_tokens(stream, &mut 0).clamp(1, MOST_REPLIES);
        }
        if let Some((count, tokens)) = &self.images {
            let mut stream = Stream::new(self.seed, Purpose::Images, key);
            let drawn = (count.sample(&mut stream) + 0.5).clamp(0.0, f64::from(MAX_TOKENS)) as u32;
            let count = drawn.min((request.input_tokens - 1) / tokens);
            request.images = Images { count, tokens: *tokens, first: request.input_tokens - count * tokens };
        }
        // Nobody hangs up before the request is there: what never arrives is no load.
        request.hangs_up = request.hangs_up.max(request.arrival);
    }
}
