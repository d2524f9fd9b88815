//! Images in prompts that the engine encodes itself: when in the course of a prompt, and what a step may take of them.
//!
//! An image is encoded in the step that computes its first token, and its embeddings are kept until its last one has been computed. vLLM
//! bounds both (`max_num_encoder_input_tokens` and its encoder cache, each by default as large as the token budget of a step, or one image
//! where that is larger): a prompt is cut before an image that has no room.

use super::core::Core;
use super::job::JobId;

/// How an engine encodes images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// Embeddings that a step may make, and that may be kept at once, tokens; none: as many as come.
    pub budget: Option<u32>,
    pub cache: Option<u32>,
    /// Device time of an image, ps.
    pub image_ps: u64,
}

impl Core {
    /// Images of a prompt that begin before the first `until` tokens end.
    fn images_before(&self, id: JobId, until: u64) -> u32 {
        let images = self.jobs[id].request.images;
        let inside = until.saturating_sub(u64::from(images.first));
        inside.div_ceil(u64::from(images.tokens.max(1))).min(u64::from(images.count)) as u32
    }

    /// The first image that is neither encoded nor computed, when the first `computed` tokens are.
    fn next_image(&self, id: JobId, computed: u64) -> u32 {
        let images = self.jobs[id].request.images;
        let inside = computed.saturating_sub(u64::from(images.first)) / u64::from(images.tokens.max(1));
        self.jobs[id].encoded.max(inside.min(u64::from(images.count)) as u32)
    }

    /// Of `tokens` more of a prompt of which `computed` are there, those that its images leave for this step.
    #[inline]
    pub fn cut_before_image(&self, id: JobId, computed: u64, tokens: u32) -> u32 {
        self.encoder.map_or(tokens, |encoder| self.cut_to_budgets(encoder, id, computed, tokens))
    }

    fn cut_to_budgets(&self, encoder: Encoder, id: JobId, computed: u64, tokens: u32) -> u32 {
        let images = self.jobs[id].request.images;
        if images.count == 0 {
            return tokens;
        }
        let first = self.next_image(id, computed);
        let wanted = self.images_before(id, computed + u64::from(tokens)).saturating_sub(first);
        if wanted == 0 {
            return tokens;
        }
        // One image always has room when nothing else takes any.
        let made: u32 = self.batch.encoded.iter().map(|(other, count)| count * self.jobs[*other].request.images.tokens).sum();
        let left = |most: Option<u32>, taken: u32| most.map_or(u32::MAX, |most| most.max(images.tokens).saturating_sub(taken));
        let room = left(encoder.budget, made).min(left(encoder.cache, made + self.embeddings_kept()));
        let fit = room / images.tokens.max(1);
        if fit >= wanted {
            return tokens;
        }
        let start = u64::from(images.first) + u64::from(first + fit) * u64::from(images.tokens);
        start.saturating_sub(computed).min(u64::from(tokens)) as u32
    }

    /// Embeddings made in earlier steps that are still needed.
    fn embeddings_kept(&self) -> u32 {
        let kept = |&id: &JobId| {
            let job = &self.jobs[id];
            let images = job.request.images;
            let in_batch = self.batch.encoded.iter().filter(|(other, _)| *other == id).map(|(_, count)| count).sum::<u32>();
            let done = job.computed.saturating_sub(u64::from(images.first)) / u64::from(images.tokens.max(1));
            job.encoded.saturating_sub(in_batch).saturating_sub(done as u32) * images.tokens
        };
        self.prefilling.iter().map(kept).sum()
    }

    /// A piece of a prompt is in the batch: its images are encoded with it.
    #[inline]
    pub(super) fn encode_images(&mut self, id: JobId, from: u64, until: u64) {
        if self.encoder.is_some() && self.jobs[id].request.images.count > 0 {
            self.encode_between(id, from, until);
        }
    }

    fn encode_between(&mut self, id: JobId, from: u64, until: u64) {
        let (first, last) = (self.next_image(id, from), self.images_before(id, until));
        if last > first {
            self.batch.encoded.push((id, last - first));
            self.jobs[id].encoded = last;
        }
    }

    /// Images encoded in the batch being formed.
    pub(super) fn images_in_batch(&self) -> u32 {
        self.batch.encoded.iter().map(|(_, count)| count).sum()
    }

    /// Device time of their encoding, ps.
    pub(super) fn encoding_ps(&self) -> u64 {
        self.encoder.map_or(0, |encoder| encoder.image_ps * u64::from(self.images_in_batch()))
    }
}
