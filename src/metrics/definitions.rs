//! The one table of metrics: what each key of the summary means. The page's help, the table in the terminal and
//! docs/metrics.md are made of it.

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Place in the summary document, keys joined by dots.
    pub key: &'static str,
    /// For a person.
    pub label: &'static str,
    /// Empty for words and plain ratios' parents.
    pub unit: &'static str,
    pub definition: &'static str,
    /// In terms of the columns of requests.csv and of steps; may be empty.
    pub formula: &'static str,
}

/// One column of requests.csv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub unit: &'static str,
    pub definition: &'static str,
}

const fn metric(key: &'static str, label: &'static str, unit: &'static str, definition: &'static str, formula: &'static str) -> Definition {
    Definition { key, label, unit, definition, formula }
}

const fn column(name: &'static str, unit: &'static str, definition: &'static str) -> Column {
    Column { name, unit, definition }
}

/// Every key of the summary, in its order. A latency stands for its object of count, mean, std, min, max and percentiles.
pub fn definitions() -> &'static [Definition] {
    DEFINITIONS
}

/// The definition of a key.
pub fn definition(key: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.key == key)
}

/// The columns of requests.csv, in order: the original project's first.
pub fn columns() -> &'static [Column] {
    COLUMNS
}

#[rustfmt::skip]
const DEFINITIONS: &[Definition] = &[
    metric("simulation.total_duration_s", "Duration", "s", "From time 0 to the end of the simulation: the set end, or the end of the last request.", ""),
    metric("simulation.warm_up_duration_s", "Warm-up", "s", "What the summary leaves out at the start.", ""),
    metric("simulation.effective_duration_s", "Window", "s", "The time the rates are over: after the warm-up, the drain included.", "total_duration_s - warm_up_duration_s"),
    metric("simulation.last_arrival_s", "Last arrival", "s", "When the last request reached the server.", "max(arrival_time)"),
    metric("simulation.drain_duration_s", "Drain", "s", "From the last arrival to the end. A long drain lowers the rates: the server was no longer fed.", "total_duration_s - last_arrival_s"),
    metric("requests.total", "Requests", "requests", "Requests that reached the server at or after the end of the warm-up.", "arrival_time >= warm_up_duration_s"),
    metric("requests.successful", "Successful", "requests", "Those that got their whole reply.", ""),
    metric("requests.failed", "Not successful", "requests", "All others: unfinished, cancelled and rejected.", "total - successful"),
    metric("requests.success_rate", "Success rate", "share", "Share of the requests that got their whole reply.", "successful / total"),
    metric("requests.unfinished", "Unfinished", "requests", "Still waiting or running when the simulation ended.", ""),
    metric("requests.cancelled", "Cancelled by the client", "requests", "Given up by their client (a time-out or a cancellation) before the last token.", ""),
    metric("requests.lost", "Lost", "requests", "A replica, its link or the router failed while they were there, and they were not tried again.", ""),
    metric("requests.retried", "Tried again", "requests", "Requests that were tried more than once, however they ended.", "attempts > 1"),
    metric("requests.rejected.too_long_for_model", "Rejected: longer than the model's context", "requests", "Prompt plus declared output exceeds the longest sequence the model or the engine takes.", ""),
    metric("requests.rejected.too_long_for_kv_pool", "Rejected: larger than the KV pool", "requests", "Needs more KV blocks than the pool has in all.", ""),
    metric("requests.rejected.too_long_for_step", "Rejected: longer than a step", "requests", "The prompt exceeds the token budget of a step and may not be cut.", ""),
    metric("requests.rejected.queue_full", "Rejected: the queue was full", "requests", "Turned away on arrival (HTTP 503) because as much was waiting as the server lets wait.", ""),
    metric("requests.rejected.admission_queue_full", "Rejected: the router's queue was full", "requests", "Turned away (HTTP 429) because as many requests waited before the replicas as may, and not tried again with success.", ""),
    metric("requests.rejected.rate_limited", "Rejected: too many of its tenant", "requests", "Turned away (HTTP 429) because its tenant sent more requests a second than it may.", ""),
    metric("requests.rejected.unavailable", "Rejected: no replica", "requests", "Turned away (HTTP 503) because no replica took requests, or the router was down.", ""),
    metric("requests.in_warm_up", "In the warm-up", "requests", "Requests left out of the summary (not of the CSV).", "arrival_time < warm_up_duration_s"),
    metric("throughput.requests_per_second", "Request throughput", "requests/s", "Requests that finished in the window, whenever they arrived.", "finished after the warm-up / effective_duration_s"),
    metric("throughput.output_tokens_per_second", "Output throughput", "tokens/s", "Tokens that came out in the window, of all requests, finished or not.", "output tokens of steps after the warm-up / effective_duration_s"),
    metric("throughput.input_tokens_per_second", "Input throughput", "tokens/s", "Prompt tokens, cached ones included, of the requests whose first token came out in the window.", "sum of prompt_tokens / effective_duration_s"),
    metric("throughput.total_tokens_per_second", "Total throughput", "tokens/s", "Input and output together.", "input_tokens_per_second + output_tokens_per_second"),
    metric("throughput.offered_requests_per_second", "Offered rate", "requests/s", "Arrivals per second from the warm-up to the last arrival. Above the request throughput, the queue grows.", "total / (last_arrival_s - warm_up_duration_s)"),
    metric("throughput.requests_per_second_per_gpu", "Request throughput per GPU", "requests/s", "Request throughput over all GPUs of the run.", "requests_per_second / gpus"),
    metric("throughput.output_tokens_per_second_per_gpu", "Output throughput per GPU", "tokens/s", "Output throughput over all GPUs of the run.", "output_tokens_per_second / gpus"),
    metric("throughput.total_tokens_per_second_per_gpu", "Total throughput per GPU", "tokens/s", "Total throughput over all GPUs of the run.", "total_tokens_per_second / gpus"),
    metric("latency.time_to_first_token_ms", "TTFT", "ms", "Time to first token: from arrival at the server, queueing included, to the end of the step that gives the first token. Successful requests.", "first_token_time - arrival_time"),
    metric("latency.time_per_output_token_ms", "TPOT", "ms", "Time per output token: mean gap between tokens of one request. Successful requests with two tokens or more; every request counts once, with the tokens of all its replies.", "(e2e_latency - ttft) / (output_tokens - 1)"),
    metric("latency.end_to_end_latency_ms", "E2E latency", "ms", "From arrival at the server to the last token. Successful requests.", "completion_time - arrival_time"),
    metric("latency.inter_token_latency_ms", "ITL", "ms", "Inter-token latency: gaps between consecutive outputs, pooled over all requests; every output (a token, or a bunch under `stream_interval`) counts once. Tokens that came out after the warm-up, of unfinished requests too. Percentiles are within 0.4 %, the rest is exact.", "gap to the previous token of the same request"),
    metric("latency.queue_time_ms", "Queue time", "ms", "From arrival at the server to the first step that computes part of the prompt. Successful requests.", "scheduled_time - arrival_time"),
    metric("gpu_utilization", "Device busy", "share", "By replica: share of the window in which its GPUs worked, whatever on.", "device time of steps / effective_duration_s"),
    metric("prefix_caching.overall_hit_rate", "Prefix hit rate (requests)", "share", "Share of the admitted requests that found part of their prompt in the cache.", "hits / admitted"),
    metric("prefix_caching.conversational_hit_rate", "Conversational hit rate", "share", "The same among follow-up turns.", ""),
    metric("prefix_caching.cross_request_hit_rate", "Cross-request hit rate", "share", "The same among first turns.", ""),
    metric("prefix_caching.event_counts.CONVERSATIONAL_HIT", "Conversational hits", "requests", "Follow-up turns that found part of their prompt.", ""),
    metric("prefix_caching.event_counts.CROSS_REQUEST_HIT", "Cross-request hits", "requests", "First turns that found part of their prompt.", ""),
    metric("prefix_caching.event_counts.MISS_FULL", "Misses", "requests", "First turns that found nothing.", ""),
    metric("prefix_caching.event_counts.FULL_HIT_NO_PREFILL_NEEDED", "Full hits", "requests", "Always 0: an engine computes at least the last token of a prompt.", ""),
    metric("prefix_caching.event_counts.CONVERSATIONAL_MISS_UNEXPECTED_PROMPT", "Conversational misses", "requests", "Follow-up turns that found nothing: evicted, or served by another replica.", ""),
    metric("prefix_caching.average_cached_prefix_length", "Mean cached prefix", "tokens", "Mean length found, over the requests that found something.", "sum of cached_prefix_length / hits"),
    metric("prefix_caching.average_tokens_prefilled", "Mean tokens prefilled", "tokens", "Mean number of prompt tokens computed, recomputation included.", "sum of tokens_actually_prefilled / admitted"),
    metric("prefix_caching.prefill_reduction_ratio", "Prefix hit rate (tokens)", "share", "Share of the prompt tokens that did not have to be computed.", "sum of cached_prefix_length / sum of prompt_tokens"),
    metric("prefix_caching.total_tokens_saved", "Tokens saved", "tokens", "Prompt tokens found in the cache.", "sum of cached_prefix_length"),
    metric("prefix_caching.cross_request_hits", "Cross-request hits", "requests", "First turns that found part of their prompt.", ""),
    metric("prefix_caching.conversational_hits", "Conversational hits", "requests", "Follow-up turns that found part of their prompt.", ""),
    metric("name", "Name", "", "Name of the entry.", ""),
    metric("goodput.slo", "SLO", "", "The targets a request has to meet, all of them.", ""),
    metric("goodput.good_requests", "Good requests", "requests", "Successful requests that meet every target. A single token has no TPOT to miss.", ""),
    metric("goodput.share", "Goodput (share)", "share", "SLO attainment: unfinished and rejected requests count as missed.", "good_requests / total"),
    metric("goodput.requests_per_second", "Goodput", "requests/s", "Good requests per second.", "good_requests / effective_duration_s"),
    metric("engine.replicas", "Replicas", "", "Engines in the run.", ""),
    metric("engine.gpus", "GPUs", "", "GPUs of all replicas.", ""),
    metric("engine.steps", "Steps", "steps", "Steps that ended in the window.", ""),
    metric("engine.decode_only_steps", "Decode-only steps", "steps", "Those that computed no prompt tokens.", ""),
    metric("engine.single_steps", "Taken step by step", "", "Why steps are simulated one by one: something varies from step to step. Empty when runs of equal decode steps are taken at once, with the same result.", ""),
    metric("engine.mean_step_ms", "Mean step", "ms", "Mean duration of a step.", "sum of durations / steps"),
    metric("engine.mean_decode_batch", "Mean decode batch", "sequences", "Sequences that decode in a step, mean over steps.", "sum of decoding sequences / steps"),
    metric("engine.mean_tokens_per_step", "Mean tokens per step", "tokens", "Tokens computed in a step, of prompts and of decodes.", ""),
    metric("engine.mean_running", "Mean running", "sequences", "Sequences in the running list, mean over time, all replicas.", "sum of running * step duration / effective_duration_s"),
    metric("engine.mean_waiting", "Mean waiting", "requests", "Requests that arrived and have not been scheduled yet, mean over time, all replicas. By Little's law, arrival rate times mean queue time.", "sum of queue time in the window / effective_duration_s"),
    metric("engine.prefill_tokens", "Prefill tokens", "tokens", "Prompt tokens computed in the window, recomputation included.", ""),
    metric("engine.output_tokens", "Output tokens", "tokens", "Tokens that came out in the window.", ""),
    metric("engine.padded_tokens", "Padded tokens", "tokens", "Rows that CUDA-graph padding added to batches.", ""),
    metric(
        "engine.wasted_tokens",
        "Wasted decode slots",
        "tokens",
        "Decodes past the end of a reply: an overlapping engine forms the next batch before it reads an end-of-sequence token.",
        "",
    ),
    metric("engine.drafted_tokens", "Drafted tokens", "tokens", "Tokens that speculative decoding drafted and the model verified.", ""),
    metric("engine.accepted_tokens", "Accepted tokens", "tokens", "Drafted tokens that came out, at the same moment as the step's own token.", ""),
    metric("engine.preemptions", "Preemptions", "", "Times a running request lost its KV blocks and went back to the queue.", ""),
    metric("engine.recomputed_tokens", "Recomputed tokens", "tokens", "Tokens computed again after a preemption.", "sum over preempted of tokens_actually_prefilled - (prompt_tokens - cached_prefix_length)"),
    metric("engine.kv_blocks.total", "KV blocks", "blocks", "KV blocks of all replicas.", ""),
    metric("engine.kv_blocks.peak", "KV blocks, peak", "blocks", "Most in use at once, warm-up included; with several replicas, the sum of their own peaks.", ""),
    metric("engine.kv_blocks.peak_share", "KV peak", "share", "Peak over total.", "peak / total"),
    metric("utilisation.compute", "Compute (MFU)", "share", "Model FLOP done over what the GPUs could have done at their data sheet's dense peak in the window.", "(tokens * FLOP per token + attention pairs * FLOP per pair) / (peak * effective_duration_s)"),
    metric("utilisation.memory_bandwidth", "Memory bandwidth", "share", "Bytes of weights and KV moved over what the memory could have moved: weights once a step, the context once a decode, every new token's KV once.", "bytes / (peak * effective_duration_s)"),
    metric("utilisation.time.gemm", "Time: GEMM", "share", "Share of the GPU time of the window in matrix products with weights.", ""),
    metric("utilisation.time.attention", "Time: attention", "share", "The same in attention, prefill and decode.", ""),
    metric("utilisation.time.communication", "Time: communication", "share", "The same in collectives between GPUs.", ""),
    metric("utilisation.time.other", "Time: other", "share", "The same in norms, activations, embedding, sampling.", ""),
    metric("utilisation.time.host", "Time: host", "share", "GPUs waiting for the host to schedule or to read tokens.", ""),
    metric("utilisation.time.idle", "Time: idle", "share", "No step: no request was there.", ""),
    metric("waits.held_back.budget", "Held back: budget", "share", "Share of the window in steps in which the head of the queue was not admitted because the token budget of the step was used up.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.whole_prompt", "Held back: prompt not to be cut", "share", "Share of the window in steps in which the head of the queue was not admitted because its prompt may not be cut and what was left of the budget was too small.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.seats", "Held back: seats", "share", "Share of the window in steps in which the head of the queue was not admitted because as many requests ran as may.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.kv_blocks", "Held back: KV memory", "share", "Share of the window in steps in which the head of the queue was not admitted because the KV pool could not hold what admission asks for.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.latch", "Held back: latch", "share", "Share of the window in steps in which the head of the queue was not admitted because admission had failed before and is tried again only when a request ends.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.deferral", "Held back: same prefix", "share", "Share of the window in steps in which the head of the queue was not admitted because a running request was computing the same prefix.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.interval", "Held back: interval", "share", "Share of the window in steps in which the head of the queue was not admitted because prefill is allowed only every so many steps.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.preemption", "Held back: preemption", "share", "Share of the window in steps in which the head of the queue was not admitted because a running request lost its KV in the same step.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.chunk_under_way", "Held back: chunk", "share", "Share of the window in steps in which the head of the queue was not admitted because another prompt was being computed in pieces.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.adapter_slots", "Held back: adapters", "share", "Share of the window in steps in which the head of the queue was not admitted because no place was free for its LoRA adapter.", "duration of those steps / effective_duration_s"),
    metric("waits.held_back.kv_load", "Held back: KV on its way", "share", "Share of the window in steps in which the head of the queue was not admitted because its KV was on its way from a lower tier.", "duration of those steps / effective_duration_s"),
    metric("waits.per_token_ms.decode_only", "Per token: decode steps", "ms", "Time of decoding sequences in steps without prompts, for each token decoded. The three add up to the mean time from token to token.", "sum of decoding sequences * duration / decoded tokens"),
    metric("waits.per_token_ms.mixed", "Per token: mixed steps", "ms", "The same in steps that computed prompts as well.", ""),
    metric("waits.per_token_ms.stopped", "Per token: stopped", "ms", "Time of decoding sequences that got no token while a step computed something else, for each token decoded.", ""),
    metric("waits.steps.decode_only", "Decode-only steps (share)", "share", "Share of the steps that computed no prompts.", ""),
    metric("waits.steps.eager_decode_only", "Decode-only steps without graph", "share", "Share of the decode-only steps launched kernel by kernel from the host, not replayed from a CUDA graph.", ""),
    metric("waits.steps.mixed", "Mixed steps (share)", "share", "Share of the steps that computed prompts and decoded.", ""),
    metric("waits.steps.prefill_only", "Prefill-only steps (share)", "share", "Share of the steps that computed prompts and decoded nothing.", ""),
    metric("waits.mean_step_ms.decode_only", "Mean decode-only step", "ms", "Mean duration of a step without prompts.", ""),
    metric("waits.mean_step_ms.mixed", "Mean mixed step", "ms", "Mean duration of a step with prompts and decodes.", ""),
    metric("waits.mean_step_ms.prefill_only", "Mean prefill-only step", "ms", "Mean duration of a step with prompts alone.", ""),
    metric("disaggregation.prefill_replicas", "Prefill engines", "", "Engines of the prefill pool. The section is null in runs without pools.", ""),
    metric("disaggregation.decode_replicas", "Decode engines", "", "Engines of the decode pool.", ""),
    metric("disaggregation.requests", "Handed over", "requests", "Requests that arrived after the warm-up, were prefilled by one engine and got a seat in another.", ""),
    metric("disaggregation.bytes", "KV moved", "bytes", "KV of those requests that crossed from one pool to the other, copies for several GPUs counted.", "sum of kv_bytes"),
    metric("disaggregation.memory_wait_ms", "Wait for memory", "ms", "From asking an engine of the decode pool for memory to getting it: after the prompt is computed (pull) or before (push).", "kv_memory_wait_ms"),
    metric("disaggregation.transfer_ms", "KV transfer", "ms", "From the start of a request's first transfer to the end of its last, waiting for others on shared links included. With push, chunks are sent while later ones are computed.", "kv_transfer_ms"),
    metric("disaggregation.exposed_transfer_ms", "KV transfer (exposed)", "ms", "The part of it after the prompt was computed and memory was there: what the client waits for.", ""),
    metric("disaggregation.seat_wait_ms", "Wait for a seat", "ms", "From the arrival of the KV to a place among the decoding sequences.", ""),
    metric("disaggregation.busiest_link_share", "Busiest link", "share", "Share of its rate that the busiest link of the network carried, mean over the run, protocol overhead included.", "bytes carried / rate / total_duration_s"),
    metric("memory", "Memory budget", "bytes", "By entry, of one GPU: total, usable, weights, activations, other (graphs and libraries), KV, unused; KV blocks and tokens of a replica.", ""),
    metric("energy.total_j", "Energy", "J", "Energy of all GPUs in the window, idle time included; not of hosts, network or cooling.", "mean_power_w * effective_duration_s"),
    metric("energy.mean_power_w", "Mean power", "W", "Power of all GPUs, mean over the window. A GPU draws its limit times min(1, idle + busy * share of time in kernels + compute * MFU + memory * share of bandwidth) in a step, and its idle power between steps; see docs/cost-model.md.", "energy of steps that end in the window / window + idle power"),
    metric("energy.mean_power_w_per_gpu", "Mean power per GPU", "W", "The same over the number of GPUs.", "mean_power_w / gpus"),
    metric("energy.share_of_limit", "Power (share of limit)", "share", "Mean power over the power limits of all GPUs.", ""),
    metric("energy.idle_share", "Idle power (share)", "share", "Share of the energy that the GPUs would have drawn idle.", "idle power / mean_power_w"),
    metric("energy.joules_per_output_token", "Energy per output token", "J/token", "All energy of the window over the tokens that came out in it: that of prompts and of idle time is charged to them.", "total_j / output tokens"),
    metric("energy.kwh_per_day", "Energy a day", "kWh/day", "What a day at this load takes, the building's overhead (PUE) included.", "mean_power_w * pue * 24 / 1000"),
    metric("energy.pue", "PUE", "", "Energy of the building over that of the GPUs, from the document; 1 counts GPUs alone.", ""),
    metric("energy.grid", "Grid", "", "Whose electricity it is, and the year of the figure.", ""),
    metric("energy.gco2_per_kwh", "Emissions of the grid", "gCO2/kWh", "Mean of a year.", ""),
    metric("energy.gco2", "Emissions", "gCO2", "Emissions of the window's energy, PUE included.", "total_j * pue / 3.6e6 * gco2_per_kwh"),
    metric("energy.gco2_per_million_output_tokens", "Emissions per million output tokens", "gCO2", "The same over the tokens that came out.", "gco2 / output tokens * 1e6"),
    metric("cost.usd_per_hour", "Price", "USD/h", "What an hour of all GPUs of the run costs, busy or not.", "usd_per_gpu_hour * gpus"),
    metric("cost.usd_per_gpu_hour", "Price per GPU-hour", "USD/h", "From the document, or the offer on demand in configs/prices.json; mean over the GPUs.", ""),
    metric("cost.usd_per_million_output_tokens", "USD per million output tokens", "USD", "The whole bill of the window over the tokens that came out in it: prompts and idle time are charged to them.", "usd_per_hour * effective_duration_s / 3600 / output tokens * 1e6"),
    metric("cost.usd_per_million_input_tokens", "USD per million input tokens", "USD", "The whole bill over the prompt tokens, cached ones included, of requests whose first token came out in the window. Not to be added to the price of output: each stands for the whole bill.", "usd_per_hour * effective_duration_s / 3600 / input tokens * 1e6"),
    metric("cost.usd_per_million_tokens", "USD per million tokens", "USD", "The whole bill over input and output tokens together.", "usd_per_hour * effective_duration_s / 3600 / (input + output tokens) * 1e6"),
    metric("cost.usd_per_thousand_requests", "USD per thousand requests", "USD", "The whole bill over the requests that finished in the window.", "usd_per_hour * effective_duration_s / 3600 / finished * 1000"),
    metric("cost.price_source", "Source of the price", "", "Where the price is from and of when, or that none is known.", ""),
    metric("operations.replicas", "Replicas over time", "replicas", "Serving replicas over the window: mean over time, fewest, most. Null where replicas neither come nor go nor fail.", ""),
    metric("operations.scaling", "Scaling", "decisions", "Decisions of the planner or scaler that added or removed replicas, and those carried out in all.", ""),
    metric("operations.gpu_hours", "GPU-hours paid", "GPU-hours", "GPUs of each replica for the time from the end of their provisioning to their return, within the window; failed replicas are paid for too.", "sum of gpus * paid time / 3600"),
    metric("operations.failures", "Failures", "failures", "Replicas that failed or were cut off, and failures of the router.", ""),
    metric("operations.without_service_s", "Without service", "s", "Time of the window in which no replica served.", ""),
    metric("operations.lost_attempts", "Tries lost", "tries", "Tries of requests that ended with a failure, those tried again included.", ""),
    metric("operations.lost_tokens", "Tokens lost", "tokens", "Output tokens of lost tries that were not kept.", ""),
    metric("operations.lost_prefill_tokens", "Prefill lost", "tokens", "Prompt tokens computed in lost tries.", ""),
    metric("operations.retried_successful", "Retried with success", "requests", "Requests that got their whole reply in a later try.", ""),
    metric("operations.late", "Late", "requests", "Requests that got their whole reply and missed a target of the SLO. Null without one.", "successful - good_requests"),
    metric("operations.queue_peak", "Longest queue before the replicas", "requests", "Most requests that waited before the replicas at once, warm-up included.", ""),
    metric("operations.tenants", "Tenants", "", "By tenant: requests, those successful and rejected, tokens in and out of the successful ones, mean TTFT, weight.", ""),
    metric("operations.fairness", "Fairness (Jain)", "", "Jain's index over the tenants' service (prompt tokens and twice the output tokens of successful requests, over the weight): 1 is even, 1/n is all for one.", "(sum x)^2 / (n * sum x^2)"),
    metric("provenance.engine_version", "Version", "", "Version of LLMPerfOracle.", ""),
    metric("provenance.seed", "Seed", "", "Seed of the random streams.", ""),
    metric("provenance.confidence", "Confidence", "", "What the step times rest on.", ""),
    metric("provenance.stacks", "Stacks", "", "Framework, model, device and GPUs of each entry.", ""),
];

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    column("request_id", "", "`req_N`, N from 1 in order of making."),
    column("client_id", "", "`client_PROFILE_K`, K the number of the conversation's first request modulo 100."),
    column("session_id", "", "`sess_N`, N from 1; empty outside conversations."),
    column("prompt_tokens", "tokens", "Length of the prompt."),
    column("max_output_tokens", "tokens", "Declared limit of the output."),
    column("output_tokens", "tokens", "Tokens produced until the end of the request or of the simulation, of all its replies."),
    column("arrival_time", "s", "When it reached the server."),
    column("first_token_time", "s", "End of the step that gave the first token."),
    column("completion_time", "s", "End of the step that gave the last token."),
    column("status", "", "SUCCESS, PENDING (unfinished at the end), REJECTED, CANCELLED or LOST."),
    column("ttft_ms", "ms", "first_token_time - arrival_time."),
    column("tpot_ms", "ms", "(completion_time - first_token_time) / (output_tokens - 1); empty with a single token."),
    column("e2e_latency_ms", "ms", "completion_time - arrival_time."),
    column("prefix_cache_event", "", "CONVERSATIONAL_HIT, CROSS_REQUEST_HIT, MISS_FULL or CONVERSATIONAL_MISS_UNEXPECTED_PROMPT; empty before admission."),
    column("cached_prefix_length", "tokens", "Prompt tokens found in the cache at first admission."),
    column("tokens_actually_prefilled", "tokens", "Prompt tokens computed, recomputation included."),
    column("entry", "", "Entry of frameworks_to_test that served it."),
    column("replica", "", "Number of the replica in its run, from 0."),
    column("turn", "", "Turn of the conversation, from 0."),
    column("sent_time", "s", "When the client sent it."),
    column("scheduled_time", "s", "Start of the first step that computed part of its prompt."),
    column("queue_time_ms", "ms", "scheduled_time - arrival_time."),
    column("preemptions", "", "Times it lost its KV blocks and went back to the queue."),
    column("reject_reason", "", "Why it was rejected; empty otherwise."),
    column("cancelled_time", "s", "When its client gave it up; empty otherwise."),
    column("decode_replica", "", "Number of the replica that decoded it, where another one computed its prompt; empty otherwise."),
    column("kv_memory_wait_ms", "ms", "Wait for KV memory in that replica."),
    column("kv_transfer_ms", "ms", "From the start of the first transfer of its KV to the end of the last."),
    column("kv_bytes", "bytes", "KV moved, copies for several GPUs counted."),
    column("attempts", "", "Tries, the first included."),
    column("lost_tokens", "tokens", "Output tokens of lost tries that were not kept."),
];
