// The shapes that modules hand to each other. Types only: nothing here exists at run time.
// The engine's own shapes repeat what www/wasm exports; a test compares both against the built package.

/**
 * @typedef {Record<string, any>} DocumentObject  The experiment, exactly as its JSON text has it.
 * @typedef {Map<string, Uint8Array>} Files  Trace files by the name the document calls them.
 *
 * @typedef {{ severity: 'error' | 'warning', path: string, line: number | null, column: number | null, message: string, hint: string }} Diagnostic
 * @typedef {{ message: string, diagnostics?: Diagnostic[] }} EngineError
 *
 * @typedef {{ name: string, parameters: number, layers: number, maxContext: number }} ModelInfo
 * @typedef {{ name: string, memoryGb: number, bf16Tflops: number, memoryGbPerS: number, calibrated: boolean }} DeviceInfo
 * @typedef {{ kind: string, label: string, available: boolean }} FrameworkInfo
 * @typedef {{ name: string, title: string, description: string, document: DocumentObject }} Preset
 * @typedef {{ name: string, title: string, about: string, workload: DocumentObject }} NamedWorkload
 * @typedef {{ key: string, label: string, unit: string, definition: string, formula: string }} Definition
 * @typedef {{ models: ModelInfo[], devices: DeviceInfo[], nodes: string[], frameworks: FrameworkInfo[], presets: Preset[], workloads: NamedWorkload[], definitions: Definition[] }} Catalog
 *
 * @typedef {{ kind: 'text' | 'entry' | 'number', text: string }} SentencePart
 * @typedef {{ id: string, title: string, entry: number, values: (number | null)[], unit: 'share' | 'ms', weight: number, sentence: SentencePart[] }} Finding
 *
 * @typedef {{ done: boolean, fraction: number, simulatedS: number, requestsEnded: number }} Progress
 */

/**
 * @typedef {object} SimulationHandle
 * @property {string} name
 * @property {(budget: number) => Progress} advance
 * @property {() => FinishedHandle} finish
 * @property {(fromS: number, toS: number) => void} keepSteps
 * @property {() => Diagnostic[]} warnings
 * @property {() => void} free
 *
 * @typedef {object} FinishedHandle
 * @property {string} name
 * @property {string} hash
 * @property {number} endS
 * @property {number} binS
 * @property {number} kvBlocksTotal
 * @property {number} requestCount
 * @property {() => Record<string, any>} summary
 * @property {(name: Exclude<keyof Timeline, 'status'>) => Float64Array<ArrayBuffer>} column
 * @property {() => Uint8Array<ArrayBuffer>} status
 * @property {(name: LatencyName) => Float64Array<ArrayBuffer>} sortedColumn
 * @property {(name: SeriesName) => Float64Array<ArrayBuffer>} series
 * @property {number} replicaCount
 * @property {(bins: number) => FleetLoad} fleet
 * @property {() => Float64Array<ArrayBuffer>} encodes
 * @property {() => string} requestsCsv
 * @property {() => string} perfetto
 * @property {() => void} free
 *
 * @typedef {new (document: DocumentObject, runIndex: number, files: Files, fastPath: boolean) => SimulationHandle} SimulationClass
 *
 * @typedef {{ text: string, source: string, entry: string | null, perRequest: boolean, ownRequests: boolean }} CalibrationWanted
 * @typedef {{ advance: (budget: number) => { done: boolean, simulations: number, fraction: number }, finish: () => Fitted, free: () => void }} CalibrationHandle
 * @typedef {new (document: DocumentObject, files: Files, wanted: CalibrationWanted) => CalibrationHandle} CalibrationClass
 *
 * @typedef {{ advance: (budget: number) => boolean, moment: () => Moment, free: () => void }} InspectionHandle
 * @typedef {new (document: DocumentObject, runIndex: number, files: Files, atS: number) => InspectionHandle} InspectionClass
 */

/**
 * One finished entry as the page keeps it: small values and columns copied out of the worker.
 * @typedef {object} RunResult
 * @property {string} name
 * @property {number} entryIndex  which run of the document: decides colour and dash
 * @property {string} hash
 * @property {number} endS
 * @property {number} binS
 * @property {number} kvBlocksTotal
 * @property {number} requestCount
 * @property {Record<string, any>} summary
 * @property {Diagnostic[]} warnings  what had to be changed while it ran
 * @property {Record<LatencyName, Float64Array<ArrayBuffer>>} latencies  ascending, ms
 * @property {Record<SeriesName, Float64Array<ArrayBuffer>>} series  one value a bin
 * @property {Timeline} timeline
 * @property {FleetLoad | null} fleet  of several replicas only, and of a fleet in operation
 * @property {Float64Array<ArrayBuffer>} encodes  of a pool of encoders, four instants a request, ms: arrived, started, encoded, with the engines
 *
 * @typedef {'ttftMs' | 'tpotMs' | 'e2eMs' | 'queueMs'} LatencyName
 * @typedef {'outputTokensPerS' | 'requestsPerS' | 'running' | 'waiting' | 'kvOccupancy' | 'powerW' | 'tierHost' | 'tierDisk' | 'tierRemote'} SeriesName
 * @typedef {{ arrivalMs: Float64Array<ArrayBuffer>, scheduledMs: Float64Array<ArrayBuffer>, firstTokenMs: Float64Array<ArrayBuffer>, finishMs: Float64Array<ArrayBuffer>, status: Uint8Array<ArrayBuffer> }} Timeline
 */

/**
 * @typedef {{ entry: string, framework: string, device: string, role: '' | 'prefill' | 'decode', gpus: number, kvTokens: number, usdPerHour: number | null, requests: number, promptTokens: number, cachedTokens: number, outputTokens: number }} ReplicaLoad
 *
 * @typedef {object} FleetLoad  Means over equal bins, `bins` values for each replica in turn.
 * @property {number} bins
 * @property {number} binS
 * @property {ReplicaLoad[]} replicas
 * @property {number[][][]} sizes  of the fleet, or of its prefill and its decode pool; empty where they do not change: from when on (s), starting, serving, draining, down
 * @property {Float64Array<ArrayBuffer>} running
 * @property {Float64Array<ArrayBuffer>} waiting
 * @property {Float64Array<ArrayBuffer>} tokens  of running requests, against `kvTokens`
 */

/**
 * @typedef {object} Step  One step of an engine, as `explain --json` prints it.
 * @property {number} start_s
 * @property {number} end_s
 * @property {number} duration_ms
 * @property {'decode' | 'prefill' | 'mixed'} kind
 * @property {{ key: string, label: string, ms: number }[]} parts
 * @property {string} largest_part
 * @property {boolean} eager  launched kernel by kernel, not replayed from a CUDA graph
 * @property {{ compute_ms: number, memory_ms: number } | null} floors
 * @property {{ prefill: number, decode: number, padding: number, budget: number }} tokens
 * @property {{ prefill: number, decode: number, left_out: number, limit: number }} sequences
 * @property {{ request: string, doing: 'prefill' | 'decode' | 'left_out', tokens: number, past_tokens: number | null, completes_prompt: boolean, context_tokens: number, generated_tokens: number }[]} members
 * @property {{ length: number, first: { request: string, tokens: number, waited_ms: number, preempted: boolean, swapped: boolean }[] }} queue
 * @property {{ request: string, rule: string, because: string, unit: string, needed: number, available: number, sentence: string } | null} held_back
 * @property {{ used: number, total: number }} kv_blocks
 *
 * @typedef {{ replica: number, entry: string, framework: string, idle: boolean, last_step_ended_s: number | null, steps: Step[], ranks?: Step[][] }} ReplicaMoment  `ranks`: of attention ranks, the step of each
 * @typedef {{ request: string, at_s: number, chosen: number, of: number, unit: string, greatest_wins: boolean, scores: [number, number][], sentence: string }} Decision  of a router; the best score first
 * @typedef {{ at_s: number, sentence: string }} FleetLine  of the fleet's history, or of a request tried again
 * @typedef {{ run: string, at_s: number, replicas: ReplicaMoment[], rule: string, routing: Decision[], fleet_events: FleetLine[], retries: FleetLine[] }} Moment
 */

/**
 * @typedef {{ metrics: [name: string, unit: string, pointer: string][], variants: [assumption: string, factor: number, document: DocumentObject][] }} Variants  the document with one assumption changed at a time
 */

/**
 * @typedef {object} BenchmarkSaid  A benchmark's output, read.
 * @property {string} tool
 * @property {number | null} requests
 * @property {Record<string, number>} measured
 * @property {string[]} notes
 * @property {DocumentObject | null} workload
 * @property {string} traceName
 * @property {string} trace
 * @property {string | null} noWorkload
 * @property {{ ttftMs?: Float64Array<ArrayBuffer>, tpotMs?: Float64Array<ArrayBuffer>, e2eMs?: Float64Array<ArrayBuffer> }} latencies  ascending
 *
 * @typedef {object} Fitted
 * @property {string} entry
 * @property {{ device_time: number, host_time: number, per_request_ms?: number, source: string }} calibration
 * @property {{ name: string, measured: number, before: number | null, after: number | null, weight: number }[]} metrics
 * @property {{ before: number, after: number }} error
 * @property {string[]} held
 * @property {string[]} notes
 * @property {number} simulations
 */

/**
 * @typedef {'solid' | 'dashed' | 'dotted' | 'dashdot'} Dash
 * @typedef {{ background: string, text: string, muted: string, grid: string, axis: string, fontFamily: string, fontSizePx: number }} ChartTheme
 * @typedef {{ x: number, y: number, width: number, height: number, xMin: number, xMax: number, yMin: number, yMax: number, xLog: boolean, yLog: boolean, empty: boolean }} Frame
 * @typedef {object} ChartOptions
 * @property {number} width
 * @property {number} height
 * @property {number} [devicePixelRatio]
 * @property {ChartTheme} theme
 * @property {string} xLabel
 * @property {string} xUnit
 * @property {string} yLabel
 * @property {string} yUnit
 * @property {boolean} [xLog]
 * @property {boolean} [yLog]
 * @property {number} [xMin]
 * @property {number} [xMax]
 * @property {number} [yMin]
 * @property {number} [yMax]
 * @property {{ value: number, label: string }[]} [xMarks]
 * @property {{ value: number, label: string }[]} [yMarks]
 * @property {string} [emptyText]
 * @property {'linear' | 'step'} [mode]
 * @property {boolean} [markers]
 * @property {boolean} [fill]
 * @property {boolean} [yFromZero]
 * @property {string} [queuedColor]
 * @property {string} [prefillColor]
 * @property {string} [decodeColor]
 * @property {string} [rejectedColor]
 *
 * @typedef {{ name: string, color: string, dash: Dash, values: Float64Array, x?: Float64Array, xStart?: number, xStep?: number }} ChartSeries
 * @typedef {Timeline & { endMs: number }} TimelineData
 */

/**
 * The wasm module, as much of it as the page uses.
 * @typedef {object} Engine
 * @property {() => string} version
 * @property {() => string} schema
 * @property {() => Catalog} catalog
 * @property {(text: string, fileName: string) => { document: DocumentObject | null, diagnostics: Diagnostic[], original: boolean }} readDocument
 * @property {(document: DocumentObject, files: Files) => { diagnostics: Diagnostic[], runs: { name: string }[], estimatedWork: number }} checkDocument
 * @property {(document: DocumentObject) => string} writeYaml
 * @property {(document: DocumentObject, view: object) => string} linkEncode
 * @property {(fragment: string) => { document: DocumentObject, view: Record<string, any>, madeWith: string, diagnostics: Diagnostic[] }} linkDecode
 * @property {SimulationClass} Simulation
 * @property {InspectionClass} Inspection
 * @property {(document: DocumentObject) => Variants} variants
 * @property {(compared: { results: { name: string, summary: Record<string, any> }[] }) => Finding[]} why
 * @property {(text: string) => BenchmarkSaid} readBenchmark
 * @property {CalibrationClass} Calibration
 * @property {(canvas: HTMLCanvasElement, series: ChartSeries[], options: ChartOptions) => Frame} drawCdf
 * @property {(canvas: HTMLCanvasElement, series: ChartSeries[], options: ChartOptions) => Frame} drawLines
 * @property {(canvas: HTMLCanvasElement, data: TimelineData, options: ChartOptions) => Frame} drawTimeline
 * @property {(series: ChartSeries[], options: ChartOptions) => string} svgCdf
 * @property {(series: ChartSeries[], options: ChartOptions) => string} svgLines
 * @property {(data: TimelineData, options: ChartOptions) => string} svgTimeline
 */

/**
 * @typedef {'form' | 'text'} EditorTab
 * @typedef {object} View  What the reader looks at: travels in a link beside the document.
 * @property {LatencyName} latency
 * @property {'outputTokensPerS' | 'requestsPerS'} throughput
 * @property {'running' | 'waiting'} queue
 * @property {number} timelineEntry
 * @property {boolean} logLatency
 * @property {string[]} hidden  names of entries switched off in the charts
 *
 * @typedef {{ name: string, state: 'queued' | 'running' | 'done' | 'failed' | 'crashed', fraction: number, simulatedS: number, message: string }} EntryRun
 *
 * @typedef {object} Run
 * @property {number} id
 * @property {'idle' | 'invalid' | 'waiting' | 'running' | 'done' | 'cancelled' | 'failed'} status
 * @property {EntryRun[]} entries
 * @property {number} startedMs
 * @property {number} elapsedMs
 * @property {number} estimatedWork
 *
 * @typedef {{ id: string, tone: 'info' | 'warning' | 'error', text: string, details?: string[], action?: { label: string, run: () => void } }} Notice
 *
 * @typedef {object} State
 * @property {DocumentObject} document
 * @property {string} text  the document as text, possibly mid-edit
 * @property {boolean} textIsBroken  the text cannot be read; `document` is the last good one
 * @property {Diagnostic[]} diagnostics
 * @property {string} preset  name of the preset the document started as, '' when it came from elsewhere
 * @property {Run} run
 * @property {RunResult[]} results
 * @property {RunResult[]} pinned  results of an earlier version that stay beside the present ones
 * @property {boolean} stale  the results are of an earlier document
 * @property {View} view
 * @property {EditorTab} tab
 * @property {Files} files
 * @property {Notice[]} notices
 * @property {{ file: string, said: BenchmarkSaid } | null} measured  laid over the results
 */

export {};
