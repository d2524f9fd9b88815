//! Several replies to one prompt (`n` > 1): the sequences that serve a request, and what is told of them together.
//!
//! All three engines serve such a request as n requests of their own that find the prompt in the prefix cache: vLLM V1 fans it out on
//! arrival (`v1/engine/parallel_sampling.py`), TensorRT-LLM too (child requests), SGLang first computes the prompt with a request that
//! makes no token and sends the n when that has ended (`tokenizer_manager.py`). So scheduling, admission and memory need no rule here; what
//! is left is to tell of one request where there are several jobs: one first token, one end, tokens and prompt tokens of all.

use std::collections::BTreeMap;

use crate::workload::Request;

/// The requests with several replies that are in the engine, by their ids. Their jobs share the request's id.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    families: BTreeMap<u32, Family>,
}

/// One request's jobs.
#[derive(Clone, Debug)]
struct Family {
    /// Jobs that have not ended.
    left: u32,
    /// The request, while a job of its own computes its prompt.
    prompt: Option<Box<Request>>,
    scheduled: bool,
    first_token: bool,
    hung_up: bool,
    /// Of the jobs that have ended.
    output_tokens: u32,
    prefilled_tokens: u64,
}

impl Samples {
    /// The jobs that serve a request with several replies, in order: all of them, or first the one that computes the prompt.
    pub(super) fn open(&mut self, request: Request, prompt_first: bool) -> Vec<Request> {
        let (jobs, prompt) = if prompt_first {
            // Nothing is declared, and its token goes to nobody.
            let prompt = Request { output_tokens: 1, max_tokens: 0, samples: 1, output_segment: None, ..request.clone() };
            (vec![prompt], Some(Box::new(request.clone())))
        } else {
            (replies(&request), None)
        };
        let family = Family {
            left: jobs.len() as u32,
            prompt,
            scheduled: false,
            first_token: false,
            hung_up: false,
            output_tokens: 0,
            prefilled_tokens: 0,
        };
        self.families.insert(request.id, family);
        jobs
    }

    /// The job that computed a request's prompt has ended, which cost `prefilled_tokens`: the jobs that reply. None of any other job.
    #[inline(always)]
    pub(super) fn prompt_computed(&mut self, id: u32, prefilled_tokens: u64) -> Option<Vec<Request>> {
        if self.families.is_empty() { None } else { self.prompt_job_ended(id, prefilled_tokens) }
    }

    fn prompt_job_ended(&mut self, id: u32, prefilled_tokens: u64) -> Option<Vec<Request>> {
        let family = self.families.get_mut(&id)?;
        let request = family.prompt.take()?;
        let jobs = replies(&request);
        family.left = jobs.len() as u32;
        family.prefilled_tokens = prefilled_tokens;
        Some(jobs)
    }

    /// Whether an admission is the request's first.
    pub(super) fn is_first_admission(&mut self, id: u32) -> bool {
        self.families.is_empty() || self.families.get_mut(&id).is_none_or(|family| !std::mem::replace(&mut family.scheduled, true))
    }

    /// Whether a reply's first token is the request's.
    pub(super) fn is_first_token(&mut self, id: u32) -> bool {
        self.families.is_empty() || self.families.get_mut(&id).is_none_or(|family| !std::mem::replace(&mut family.first_token, true))
    }

    /// Whether a job's client hanging up is the request's, of which the others are told at the same instant.
    pub(super) fn is_first_to_hang_up(&mut self, id: u32) -> bool {
        self.families.is_empty() || self.families.get_mut(&id).is_none_or(|family| !std::mem::replace(&mut family.hung_up, true))
    }

    /// A job has ended, with its tokens. Those of the request when it was the last.
    #[inline(always)]
    pub(super) fn ended(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64) -> Option<(u32, u64)> {
        if self.families.is_empty() { Some((output_tokens, prefilled_tokens)) } else { self.job_ended(id, output_tokens, prefilled_tokens) }
    }

    fn job_ended(&mut self, id: u32, output_tokens: u32, prefilled_tokens: u64) -> Option<(u32, u64)> {
        let Some(family) = self.families.get_mut(&id) else { return Some((output_tokens, prefilled_tokens)) };
        // The prompt's own job yields no token.
        family.output_tokens += if family.prompt.is_some() { 0 } else { output_tokens };
        family.prefilled_tokens += prefilled_tokens;
        family.left -= 1;
        let tokens = (family.output_tokens, family.prefilled_tokens);
        (family.left == 0).then(|| {
            self.families.remove(&id);
            tokens
        })
    }
}

/// One request for each reply. A later turn goes on from the first.
fn replies(request: &Request) -> Vec<Request> {
    let reply = |index| Request { samples: 1, output_segment: request.output_segment.filter(|_| index == 0), ..request.clone() };
    (0..request.samples.max(1)).map(reply).collect()
}
