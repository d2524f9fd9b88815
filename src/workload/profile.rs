//! A client profile of the document made ready: its distributions resolved, its random streams opened.

use crate::config::Diagnostic;
use crate::config::schema::{ClientProfile, Distribution};
use crate::rng::{Purpose, Stream};
use crate::workload::prefix::{Chain, Pattern, Prefixes};
use crate::workload::sampler::{MAX_TOKENS, Sampler};

/// Think time when a profile states none, s (the original project's default).
const DEFAULT_THINK_S: f64 = 5.0;

/// One kind of client.
pub(crate) struct Profile {
    /// Time between two first requests, s; none in a closed loop.
    pub gap_s: Option<Sampler>,
    pub think_s: Sampler,
    pub lengths: Lengths,
    /// Chance that a first request opens a conversation.
    pub conversational: f64,
    /// Tokens that every prompt without a history begins with.
    pub own_prefix_tokens: u32,
    /// Shared beginnings, one of which each first request has.
    pub chains: Box<[Chain]>,
    pub arrivals: Stream,
    pub inputs: Stream,
    pub outputs: Stream,
    pub priorities: Stream,
    pub prefix_choice: Stream,
    pub conversation_start: Stream,
}

/// What is drawn for each request, first or follow-up.
pub(crate) struct Lengths {
    pub input: Sampler,
    pub output: Sampler,
    /// None: 0.
    pub priority: Option<Sampler>,
}

/// Resolves the profile at `index`; what it cannot have goes to `errors`.
pub(crate) fn resolve(
    profile: &ClientProfile,
    index: usize,
    closed_loop: bool,
    seed: u64,
    prefixes: &mut Prefixes,
    patterns: &[Pattern],
    errors: &mut Vec<Diagnostic>,
) -> Profile {
    let path = format!("workload.client_profiles[{index}]");
    let mut sampler = |key: &str, distribution: &Distribution| match Sampler::new(distribution) {
        Ok(sampler) => sampler,
        Err(message) => {
            errors.push(Diagnostic::error(format!("{path}.{key}"), message, ""));
            Sampler::fixed(1.0)
        }
    };
    let gap_s = match &profile.inter_arrival_time_dist_config {
        Some(distribution) if !closed_loop => Some(sampler("inter_arrival_time_dist_config", distribution)),
        _ => None,
    };
    let follow_up = &profile.follow_up_inter_arrival_time_dist_config;
    let think_s = follow_up.as_ref().map_or(Sampler::fixed(DEFAULT_THINK_S), |d| sampler("follow_up_inter_arrival_time_dist_config", d));
    let lengths = Lengths {
        input: sampler("prompt_tokens_dist_config", &profile.prompt_tokens_dist_config),
        output: sampler("max_output_tokens_dist_config", &profile.max_output_tokens_dist_config),
        priority: profile.user_priority_dist_config.as_ref().map(|d| sampler("user_priority_dist_config", d)),
    };
    if gap_s.is_none() && !closed_loop {
        let hint = "state the time between two requests, or concurrency for a closed loop";
        errors.push(Diagnostic::error(&path, "inter_arrival_time_dist_config is missing", hint));
    }
    for (key, times) in [("inter_arrival_time_dist_config", gap_s.as_ref()), ("follow_up_inter_arrival_time_dist_config", Some(&think_s))] {
        if times.is_some_and(|times| times.minimum() < 0.0) {
            errors.push(Diagnostic::error(format!("{path}.{key}"), "gives negative times", "let its smallest value be 0 or more"));
        }
    }
    let conversational = profile.conversational_probability.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&conversational) {
        errors.push(Diagnostic::error(format!("{path}.conversational_probability"), "is no probability", "use a number from 0 to 1"));
    }
    let own_prefix_tokens = match u32::try_from(profile.shared_prefix_tokens.unwrap_or(0)) {
        Ok(tokens) if tokens < MAX_TOKENS => tokens,
        _ => {
            errors.push(Diagnostic::error(format!("{path}.shared_prefix_tokens"), format!("must be below {MAX_TOKENS}"), ""));
            0
        }
    };
    let stream = |purpose| Stream::new(seed, purpose, index as u64);
    Profile {
        gap_s,
        think_s,
        lengths,
        conversational,
        own_prefix_tokens,
        chains: prefixes.chains(index, own_prefix_tokens, patterns),
        arrivals: stream(Purpose::Arrivals),
        inputs: stream(Purpose::InputLengths),
        outputs: stream(Purpose::OutputLengths),
        priorities: stream(Purpose::Priorities),
        prefix_choice: stream(Purpose::PrefixChoice),
        conversation_start: stream(Purpose::ConversationStart),
    }
}
