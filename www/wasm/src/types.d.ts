/** What is thrown when a call cannot be honoured. An `instanceof Error` instead means that the instance is dead. */
export interface EngineError { message: string; diagnostics: Diagnostic[] }

export interface Diagnostic {
  severity: 'error' | 'warning';
  /** `workload.client_profiles[0].weight`; empty for the whole document. */
  path: string;
  /** From 1; null where there is no text. */
  line: number | null;
  column: number | null;
  message: string;
  /** What to do; may be empty. */
  hint: string;
}

/** An experiment, as its JSON text has it. */
export type DocumentObject = Record<string, any>;
/** Traces and databases a document names, by the path it names them with. */
export type Files = Map<string, Uint8Array>;

export interface Catalog {
  models: { name: string; parameters: number; layers: number; maxContext: number }[];
  devices: { name: string; memoryGb: number; bf16Tflops: number; memoryGbPerS: number; calibrated: boolean }[];
  nodes: string[];
  frameworks: { kind: string; label: string; available: boolean }[];
  presets: { name: string; title: string; description: string; document: DocumentObject }[];
  /** What `workload.preset` can name; `about` tells lengths and sources. */
  workloads: { name: string; title: string; about: string; workload: Record<string, any> }[];
  /** The meaning of every key of the summary. */
  definitions: { key: string; label: string; unit: string; definition: string; formula: string }[];
}

/** `document` is null when there are errors. `original`: the text was in the original project's dialect. */
export interface ReadDocument { document: DocumentObject | null; diagnostics: Diagnostic[]; original: boolean }

/** `runs` is empty when there are errors. `estimatedWork` counts in units of `advance`. */
export interface DocumentCheck { diagnostics: Diagnostic[]; runs: { name: string }[]; estimatedWork: number }

/** What a link holds. `document` has errors when `diagnostics` says so. */
export interface SharedDocument { document: DocumentObject; view: Record<string, any>; madeWith: string; diagnostics: Diagnostic[] }

/** A benchmark's output. `latencies` has ascending columns where the file lists its requests; `workload` is null where `noWorkload` says why. */
export interface BenchmarkSaid {
  tool: string; requests: number | null; measured: Record<string, number>; notes: string[];
  workload: Record<string, any> | null; traceName: string; trace: string; noWorkload: string | null;
  latencies: { ttftMs?: Float64Array<ArrayBuffer>; tpotMs?: Float64Array<ArrayBuffer>; e2eMs?: Float64Array<ArrayBuffer> };
}
/** `text` and `source` (its name) of the benchmark; `entry` null: the only one, or the one of its framework. */
export interface CalibrationWanted { text: string; source: string; entry: string | null; perRequest: boolean; ownRequests: boolean }
export interface CalibrationProgress { done: boolean; simulations: number; fraction: number }
/** `error`: root of the weighted mean square of ln(predicted / measured). */
export interface Fitted {
  entry: string; calibration: { device_time: number; host_time: number; per_request_ms?: number; source: string };
  metrics: { name: string; measured: number; before: number | null; after: number | null; weight: number }[];
  error: { before: number; after: number }; held: string[]; notes: string[]; simulations: number;
}

/** A difference between results. `entry` is the one with the most of it, `values` are by result, null where unknown. */
export interface Finding {
  id: string; title: string; entry: number; values: (number | null)[]; unit: 'share' | 'ms'; weight: number;
  sentence: { kind: 'text' | 'entry' | 'number'; text: string }[];
}

/** A moment of a run, as `explain --json` prints it. */
export interface Moment {
  run: string; at_s: number;
  replicas: { replica: number; entry: string; framework: string; idle: boolean; last_step_ended_s: number | null; steps: Step[] }[];
  /** The router's latest choices, in order of time; scores are [replica, score], the best first. */
  routing: { request: string; at_s: number; chosen: number; of: number; unit: string; greatest_wins: boolean; scores: [number, number][]; sentence: string }[];
  /** The router's rule, as documents name it. */
  rule: string;
  /** What happened to the fleet last, and the latest tries that failed, in order of time. */
  fleet_events: { at_s: number; kind: string; replica: number | null; pool: number | null; before: number; value: number; reason: string; sentence: string }[];
  retries: { at_s: number; request: string; refused: boolean; next_try: { number: number; at_s: number } | null; sentence: string }[];
}

/** The document with one assumption changed: its name, the factor, the document. Metrics are name, unit, JSON pointer into the summary. */
export interface Variants { metrics: [string, string, string][]; variants: [string, number, DocumentObject][] }

/** Means over `bins` equal bins of `binS` seconds, `bins` values for each replica in turn. */
export interface FleetLoad {
  bins: number; binS: number;
  replicas: { entry: string; framework: string; device: string; role: '' | 'prefill' | 'decode'; gpus: number; kvTokens: number; usdPerHour: number | null; requests: number; promptTokens: number; cachedTokens: number; outputTokens: number }[];
  /** Of the fleet, or of its prefill and its decode pool; empty where they do not change: from when on (s), starting, serving, draining, down. */
  sizes: [number, number, number, number, number][][];
  running: Float64Array<ArrayBuffer>; waiting: Float64Array<ArrayBuffer>; tokens: Float64Array<ArrayBuffer>;
}

export interface Step {
  start_s: number; end_s: number; duration_ms: number; kind: 'decode' | 'prefill' | 'mixed';
  parts: { key: string; label: string; ms: number }[];
  largest_part: string;
  /** Launched kernel by kernel, not replayed from a CUDA graph. */
  eager: boolean;
  floors: { compute_ms: number; memory_ms: number } | null;
  tokens: { prefill: number; decode: number; padding: number; budget: number };
  sequences: { prefill: number; decode: number; left_out: number; limit: number };
  members: { request: string; doing: 'prefill' | 'decode' | 'left_out'; tokens: number; past_tokens: number | null; completes_prompt: boolean; context_tokens: number; generated_tokens: number }[];
  queue: { length: number; first: { request: string; tokens: number; waited_ms: number; preempted: boolean; swapped: boolean }[] };
  held_back: { request: string; rule: string; because: string; unit: string; needed: number; available: number; sentence: string } | null;
  kv_blocks: { used: number; total: number };
}

export interface Progress { done: boolean; fraction: number; simulatedS: number; requestsEnded: number }

/** Times in ms, NaN for never; counts as they are; `session` is NaN for none. The last four follow from the rest. */
export type ColumnName =
  | 'id' | 'profile' | 'session' | 'turn' | 'status' | 'replica'
  | 'inputTokens' | 'maxTokens' | 'outputTokens' | 'cachedTokens' | 'prefilledTokens' | 'preemptions'
  | 'sentMs' | 'arrivalMs' | 'scheduledMs' | 'firstTokenMs' | 'finishMs'
  | 'queueMs' | 'ttftMs' | 'tpotMs' | 'e2eMs';

/** One value a bin of `binS` seconds, from time 0: gauges at the bin's end (running, waiting, kvBlocksUsed, kvOccupancy and how full each tier below the GPU is, from 0 to 1; empty without such a tier), sums over it, sums a second. */
export type SeriesName =
  | 'running' | 'waiting' | 'kvBlocksUsed' | 'kvOccupancy' | 'powerW'
  | 'arrivals' | 'finished' | 'outputTokens' | 'prefillTokens' | 'preemptions'
  | 'outputTokensPerS' | 'requestsPerS' | 'tierHost' | 'tierDisk' | 'tierRemote';

/** Colours: "#rgb", "#rrggbb", "rgb(r, g, b)", "rgb(r g b / a)" or "transparent". */
export interface Theme {
  /** Laid under the whole picture. */
  background: string;
  /** Titles of axes, labels of marks. */
  text: string;
  /** Tick labels. */
  muted: string;
  grid: string;
  /** Base line and marks. */
  axis: string;
  fontFamily: string;
  /** Size of tick labels, css px. */
  fontSizePx: number;
}

/** Units `ms` and `%` are understood: many milliseconds are shown as seconds, and `%` data are fractions of one. */
export interface ChartOptions {
  /** css px. The canvas gets as many device pixels as that takes; its size on the page is the style sheet's. */
  width: number;
  height: number;
  /** Canvas only; absent: 1. */
  devicePixelRatio?: number;
  theme: Theme;
  xLabel?: string;
  xUnit?: string;
  yLabel?: string;
  yUnit?: string;
  xLog?: boolean;
  yLog?: boolean;
  /** Shown range, data units; what is absent follows from the data. */
  xMin?: number;
  xMax?: number;
  yMin?: number;
  yMax?: number;
  /** Labelled vertical lines. */
  xMarks?: { value: number; label: string }[];
  /** Labelled horizontal lines. */
  yMarks?: { value: number; label: string }[];
  /** Said when there is nothing to draw; absent: "No data yet". */
  emptyText?: string;
}

export interface LineOptions extends ChartOptions {
  mode?: 'linear' | 'step';
  /** A dot at each point of a series with few. */
  markers?: boolean;
  /** A tint between line and axis. */
  fill?: boolean;
  /** Absent: true. */
  yFromZero?: boolean;
}

/** The x axis is in s, the y axis the request's number from 1. */
export interface TimelineOptions extends ChartOptions { queuedColor?: string; prefillColor?: string; decodeColor?: string; rejectedColor?: string }

export type Dash = 'solid' | 'dashed' | 'dotted' | 'dashdot';

/** In any order; ascending (`sortedColumn`) is fastest. NaN are left out. */
export interface CdfSeries { name: string; color: string; dash: Dash; values: Float64Array }

export interface LineSeries {
  name: string;
  color: string;
  dash: Dash;
  /** NaN breaks the line. */
  values: Float64Array;
  /** Ascending; absent: `xStart + i * xStep`. */
  x?: Float64Array;
  /** Absent: 0. */
  xStart?: number;
  /** Absent: 1. */
  xStep?: number;
}

/** Columns of equal length in order of arrival, ms, NaN for never. */
export interface TimelineData {
  arrivalMs: Float64Array;
  scheduledMs: Float64Array;
  firstTokenMs: Float64Array;
  finishMs: Float64Array;
  status: Uint8Array;
  /** Unfinished requests are drawn up to here. */
  endMs: number;
}

/** `low` and `high` are ends of a whisker; a value of NaN is shown as "no data". */
export interface BarData { name: string; color: string; value: number; low?: number; high?: number }

/** The plot in the picture, css px from its upper left corner, and the data at its edges. In the timeline yMin > yMax: the first request is at the top. */
export interface Frame {
  x: number; y: number; width: number; height: number;
  xMin: number; xMax: number; yMin: number; yMax: number;
  xLog: boolean; yLog: boolean;
  /** Nothing was drawn but the empty text. */
  empty: boolean;
}
