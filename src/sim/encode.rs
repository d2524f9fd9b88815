//! Images of prompts: what an encoder takes for one, and the pool of encoders that stands before the router where there is one.
//!
//! A pool is one queue, first come first served, before encoders that take one request at a time, image by image. Embeddings then go over a
//! network card each, alone on it. What engines do that encode for themselves is in `engine::encoder`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::disaggregation::USUAL_NIC_GBPS;
use super::entry::{Context, ReplicaPlan};
use crate::catalog::{Device, Engine};
use crate::config::Diagnostic;
use crate::config::schema::{EncoderConfig, FrameworkEntry, VitConfig};
use crate::engine::Encoder;
use crate::metrics::{EncodePool, Encoded, EncoderPower};
use crate::units::Time;
use crate::workload::Request;

/// Share of the device's 16-bit peak that a vision transformer reaches. An assumption.
const VIT_EFFICIENCY: f64 = 0.5;
/// Qwen2-VL's (Wang et al. 2024): 675 million parameters in 32 layers of width 1280, 2 x 2 patches a token.
const QWEN2_VL: VitConfig = VitConfig { parameters_b: 0.675, layers: 32, hidden_size: 1280, patches_per_token: Some(4) };
/// From card to card, µs. An assumption.
const HAND_OVER_US: f64 = 3.0;

/// A pool of encoders.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct EncodePlan {
    encoders: u32,
    image_ps: u64,
    /// Embeddings of a token, bytes, and the rate of a card, bytes/s.
    token_bytes: u64,
    card: u64,
    latency: Time,
    pub info: EncodePool,
}

/// Sets the engines of an entry up to encode `tokens_per_image` tokens, or a pool to do it for them.
pub(super) fn plan(
    context: &Context<'_>,
    entry: &FrameworkEntry,
    replicas: &mut [ReplicaPlan],
    tokens_per_image: Option<u32>,
    path: &str,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Option<EncodePlan>, Diagnostic> {
    let given = &entry.config.encoder;
    let at = format!("{path}.config.encoder");
    let Some(tokens) = tokens_per_image else {
        if given.is_some() {
            warnings.push(Diagnostic::warning(at, "has no effect: no prompt has images", "say `workload.images`"));
        }
        return Ok(None);
    };
    let config = given.clone().unwrap_or_default();
    if config.time_per_image_ms.is_some() && config.vit.is_some() {
        return Err(Diagnostic::error(format!("{at}.vit"), "is given beside `time_per_image_ms`", "keep one of the two"));
    }
    let Some(first) = replicas.first() else { return Ok(None) };
    let vllm = first.engine() == Engine::Vllm;
    let bounds = [
        ("max_num_encoder_input_tokens", config.max_num_encoder_input_tokens.is_some()),
        ("encoder_cache_size", config.encoder_cache_size.is_some()),
    ];
    if let Some((key, _)) = bounds.into_iter().find(|(_, given)| *given && (!vllm || config.pool.is_some())) {
        let why = if vllm { "the pool encodes" } else { "only vLLM bounds what a step encodes" };
        return Err(Diagnostic::error(format!("{at}.{key}"), format!("has no effect: {why}"), "take it out"));
    }
    if let Some(pool) = &config.pool {
        let device = match &pool.device {
            Some(name) => {
                let unknown = |error: crate::catalog::UnknownName| {
                    Diagnostic::error(format!("{at}.pool.device"), error.to_string(), "see `llmperforacle list gpus`")
                };
                context.catalog.device(name).map_err(unknown)?.clone()
            }
            None => first.device.clone(),
        };
        let card_gbps = context.hardware.network().nic_gbps.or(device.nic_gbps).unwrap_or(USUAL_NIC_GBPS);
        let encoders = pool.replicas.unwrap_or(1);
        let (usd_per_gpu_hour, _) = super::entry::price(context, &device);
        return Ok(Some(EncodePlan {
            encoders,
            image_ps: image_ps(&config, &device, 1, tokens),
            token_bytes: 2 * u64::from(first.hidden_size),
            card: (card_gbps * 1e9 / 8.0) as u64,
            latency: Time::from_us(HAND_OVER_US),
            info: EncodePool { gpus: encoders, power: power(context, &device), device: device.name, usd_per_gpu_hour },
        }));
    }
    for replica in replicas.iter_mut() {
        if replica.is_pipelined() || replica.has_ranks() {
            let message = "engines with stages or attention ranks that encode images themselves are not modelled";
            return Err(Diagnostic::error(at, message, "say `encoder: {pool: {}}`"));
        }
        let budget = replica.limits().max_num_batched_tokens;
        let own = |given: Option<u32>| vllm.then(|| given.unwrap_or(budget));
        replica.encoder = Some(Encoder {
            budget: own(config.max_num_encoder_input_tokens),
            cache: own(config.encoder_cache_size),
            image_ps: image_ps(&config, &replica.device, replica.info.gpus, tokens),
        });
    }
    Ok(None)
}

/// An encoder at work has its kernels running all the time, at [`VIT_EFFICIENCY`] of its peak; the memory's part is left out.
fn power(context: &Context<'_>, device: &Device) -> Option<EncoderPower> {
    let limit_w = context.economics.gpu_power_w.or(device.tdp_w)?;
    let shares = context.catalog.power_of(device)?;
    let encoding = (shares.idle + shares.busy + shares.compute * VIT_EFFICIENCY).min(1.0);
    Some(EncoderPower { idle_w: shares.idle * limit_w, encoding_w: encoding * limit_w, limit_w })
}

/// Device time of an image of `tokens` prompt tokens on `gpus` GPUs that share its work.
fn image_ps(config: &EncoderConfig, device: &Device, gpus: u32, tokens: u32) -> u64 {
    if let Some(ms) = config.time_per_image_ms {
        return Time::from_ms(ms).0;
    }
    let vit = config.vit.clone().unwrap_or(QWEN2_VL);
    let patches = f64::from(tokens) * f64::from(vit.patches_per_token.unwrap_or(4));
    let parameters = vit.parameters_b * 1e9;
    let flops = 2.0 * patches * parameters + 4.0 * patches * patches * f64::from(vit.layers) * f64::from(vit.hidden_size);
    let compute_s = flops / (VIT_EFFICIENCY * device.bf16_flops);
    let weights_s = 2.0 * parameters / device.memory_bytes_per_s;
    Time::from_s(compute_s.max(weights_s) / f64::from(gpus.max(1))).0
}

/// A request between its arrival and the router.
struct Stay {
    request: Request,
    record: Encoded,
}

/// The pool at work.
pub(super) struct Encode {
    plan: EncodePlan,
    stays: BTreeMap<u32, Stay>,
    queue: VecDeque<u32>,
    idle: u32,
    /// Encoders that end a request's last image.
    encoding: BinaryHeap<Reverse<(Time, u32)>>,
    /// Embeddings that arrive.
    sent: BinaryHeap<Reverse<(Time, u32)>>,
    hang_ups: BinaryHeap<Reverse<(Time, u32)>>,
}

/// What comes out of the pool.
pub(super) enum Out {
    /// To the router.
    Ready(Request, Encoded),
    /// The client has given up.
    GivenUp(u32),
}

impl Encode {
    pub(super) fn new(plan: &EncodePlan) -> Encode {
        Encode {
            idle: plan.encoders,
            plan: plan.clone(),
            stays: BTreeMap::new(),
            queue: VecDeque::new(),
            encoding: BinaryHeap::new(),
            sent: BinaryHeap::new(),
            hang_ups: BinaryHeap::new(),
        }
    }

    /// When something happens next.
    pub(super) fn next(&self) -> Time {
        let first = |heap: &BinaryHeap<Reverse<(Time, u32)>>| heap.peek().map_or(Time::NEVER, |Reverse((at, _))| *at);
        first(&self.encoding).min(first(&self.sent)).min(first(&self.hang_ups))
    }

    /// Requests in the pool.
    pub(super) fn inside(&self) -> impl Iterator<Item = u32> + '_ {
        self.stays.keys().copied()
    }

    /// A request with images arrives.
    pub(super) fn take(&mut self, request: Request, now: Time) {
        let id = request.id;
        if request.hangs_up != Time::NEVER {
            self.hang_ups.push(Reverse((request.hangs_up, id)));
        }
        let record = Encoded { request: id, images: request.images.count, arrived_ps: now.0, ..Encoded::default() };
        self.stays.insert(id, Stay { request, record });
        self.queue.push_back(id);
        self.start(now);
    }

    /// Idle encoders take those that wait.
    fn start(&mut self, now: Time) {
        while self.idle > 0
            && let Some(id) = self.queue.pop_front()
        {
            // Who has given up is no longer here.
            let Some(stay) = self.stays.get_mut(&id) else { continue };
            stay.record.started_ps = now.0;
            self.idle -= 1;
            self.encoding.push(Reverse((now + Time(self.plan.image_ps * u64::from(stay.record.images)), id)));
        }
    }

    /// Does what happens at `now`, which is [`Encode::next`].
    pub(super) fn process(&mut self, now: Time) -> Option<Out> {
        if let Some(&Reverse((at, id))) = self.hang_ups.peek()
            && at <= now
        {
            self.hang_ups.pop();
            return self.stays.remove(&id).map(|_| Out::GivenUp(id));
        }
        if let Some(&Reverse((at, id))) = self.encoding.peek()
            && at <= now
        {
            self.encoding.pop();
            self.idle += 1;
            if let Some(stay) = self.stays.get_mut(&id) {
                stay.record.encoded_ps = now.0;
                let images = stay.request.images;
                let bytes = u64::from(images.count) * u64::from(images.tokens) * self.plan.token_bytes;
                let takes = (u128::from(bytes) * 1_000_000_000_000).div_ceil(u128::from(self.plan.card.max(1))) as u64;
                self.sent.push(Reverse((now + self.plan.latency + Time(takes), id)));
            }
            self.start(now);
            return None;
        }
        let Reverse((_, id)) = self.sent.pop()?;
        let mut stay = self.stays.remove(&id)?;
        stay.record.ready_ps = now.0;
        stay.request.arrival = now;
        // Nothing of them is left to encode.
        stay.request.images = Default::default();
        self.settle();
        Some(Out::Ready(stay.request, stay.record))
    }

    /// Forgets when clients give up whose requests have gone on.
    fn settle(&mut self) {
        while self.hang_ups.peek().is_some_and(|Reverse((_, id))| !self.stays.contains_key(id)) {
            self.hang_ups.pop();
        }
    }
}
