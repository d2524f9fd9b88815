//! SGLang under a closed loop of equal requests that share nothing, told a second time: queues of plain numbers, one step at a time, no
//! cache, no fast path, no latch, and output that is guessed. It can follow the other simulator's rules or SGLang's where these part, so that
//! one program gives the results of both. It shares no code with the engine.

use std::collections::VecDeque;

/// Where the two part. Each is told in SGLang's words; `false` is the other simulator.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    /// A page is kept free for each request of a batch of prompts.
    pub spare_page: bool,
    /// A token's KV is written when the next one is made; the other simulator takes its slot at once.
    pub slot_a_step_later: bool,
    /// All of the declared output is counted in a batch, and a prompt that is continued is never turned away.
    pub own_admission: bool,
}

/// What is served. Tokens, requests.
#[derive(Clone, Copy)]
pub struct Load {
    pub input: u64,
    pub output: u64,
    pub clients: usize,
    pub requests: usize,
    pub page: u64,
    pub pages: u64,
    pub seats: usize,
}

#[derive(Clone, Copy)]
struct Seq {
    arrived: f64,
    first: Option<f64>,
    made: u64,
    computed: u64,
    pages: u64,
}

const CHUNK: u64 = 8192;
const MAX_PREFILL: u64 = 16_384;
const CLIP: u64 = 4096;
const INITIAL: f64 = 0.7;
const FLOOR: f64 = 0.7 * 0.14;
const DECAY: f64 = (INITIAL - FLOOR) / 600.0;

fn prefill_ms(tokens: u64) -> f64 {
    let tokens = tokens as f64;
    4.209989e-7 * tokens * tokens + 1.518344e-2 * tokens + 16.50142
}

fn decode_ms(context: u64, pool: u64) -> f64 {
    let share = (context as f64 / pool as f64).min(1.0);
    (-25.74 * share * share + 54.01 * share + 5.74).max(1.0)
}

struct Engine {
    load: Load,
    rules: Rules,
    now: f64,
    free: u64,
    ratio: f64,
    waiting: VecDeque<Seq>,
    running: Vec<Seq>,
    arrived: usize,
    ttft: f64,
    tpot: f64,
}

impl Engine {
    fn pages(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.load.page)
    }

    fn arrive(&mut self) {
        if self.arrived < self.load.requests {
            self.arrived += 1;
            self.waiting.push_back(Seq { arrived: self.now, first: None, made: 0, computed: 0, pages: 0 });
        }
    }

    /// Pages that a sequence lacks for its next step.
    fn lacks(&self, seq: &Seq) -> u64 {
        let ahead = u64::from(!self.rules.slot_a_step_later);
        self.pages(self.load.input + seq.made + ahead).saturating_sub(seq.pages)
    }

    /// One more token; true when it was the last.
    fn make(&mut self, seq: &mut Seq) -> bool {
        let more = self.lacks(seq);
        self.free -= more;
        seq.pages += more;
        seq.made += 1;
        seq.first.get_or_insert(self.now);
        seq.made == self.load.output
    }

    fn end(&mut self, seq: &Seq) {
        self.free += seq.pages;
        let first = seq.first.unwrap_or(self.now);
        self.ttft += first - seq.arrived;
        self.tpot += (self.now - first) / (self.load.output - 1) as f64;
    }

    /// Pages and tokens of a batch of prompts, `None` where there is none.
    fn admit(&mut self) -> Option<(u64, Vec<Seq>)> {
        let Load { input, output, page, seats, .. } = self.load;
        let guessed: f64 = self.running.iter().map(|seq| (output - seq.made).min(CLIP) as f64 * self.ratio).sum();
        let mut total = (self.free * page) as f64 - guessed;
        let (mut left_input, mut left_chunk, mut tokens) = (MAX_PREFILL, CHUNK, 0);
        let mut batch = Vec::new();
        while batch.len() < seats.saturating_sub(self.running.len()) && left_chunk > 0 && left_input > 0 {
            let Some(&head) = self.waiting.front() else { break };
            let extend = input + head.made - head.computed;
            let continued = head.computed > 0;
            let reserve = (output - head.made).min(CLIP);
            let mut most = left_chunk;
            if self.rules.own_admission && continued {
                let unclaimed = total.max(0.0) as u64 / page * page;
                most = if unclaimed > 0 { most.min(unclaimed) } else { most }.min(self.free * page);
            }
            let whole = self.pages(extend) * page <= most;
            let piece = if whole { extend } else { (most / page * page).min(extend) };
            if piece == 0 {
                break;
            }
            let charged = self.pages(piece) * page;
            let refused = match (self.rules.spare_page, self.rules.own_admission && continued) {
                (_, true) => false,
                (true, _) => (extend + reserve + page) as f64 >= total,
                (false, _) => (charged + if whole { reserve } else { 0 }) as f64 >= total,
            };
            let pages = self.pages(head.computed + piece) - head.pages;
            if refused || pages > self.free || (!self.rules.own_admission && charged > left_input) {
                break;
            }
            self.waiting.pop_front();
            self.free -= pages;
            let counted = if self.rules.own_admission { output.min(CLIP) } else { reserve };
            total -= (charged + if whole { counted } else { 0 } + if self.rules.spare_page { page } else { 0 }) as f64;
            left_input = left_input.saturating_sub(charged);
            left_chunk -= charged;
            tokens += piece;
            batch.push(Seq { computed: head.computed + piece, pages: head.pages + pages, ..head });
        }
        (!batch.is_empty()).then_some((tokens, batch))
    }

    fn prefill(&mut self, tokens: u64, batch: Vec<Seq>) {
        self.now += prefill_ms(tokens);
        let (complete, cut): (Vec<Seq>, Vec<Seq>) = batch.into_iter().partition(|seq| seq.computed == self.load.input + seq.made);
        for seq in cut.into_iter().rev() {
            self.waiting.push_front(seq);
        }
        // The first token comes with the prompt; where it has no slot, with the next step.
        let room = complete.iter().map(|seq| self.lacks(seq)).sum::<u64>() <= self.free;
        for mut seq in complete {
            if self.rules.slot_a_step_later {
                seq.made += 1;
                seq.first.get_or_insert(self.now);
            } else if room {
                self.make(&mut seq);
            }
            self.running.push(seq);
        }
    }

    fn decode(&mut self) {
        let mut retracted = Vec::new();
        while self.running.len() > 1 && self.running.iter().map(|seq| self.lacks(seq)).sum::<u64>() > self.free {
            let fewest = (0..self.running.len()).min_by_key(|&index| self.running[index].made).unwrap_or(0);
            let seq = self.running.remove(fewest);
            self.free += seq.pages;
            retracted.push(Seq { computed: 0, pages: 0, ..seq });
        }
        let made: u64 = self.running.iter().map(|seq| seq.made).sum();
        let count = self.running.len() as u64;
        let context = made + count * self.load.input;
        self.ratio = if retracted.is_empty() {
            (self.ratio - DECAY).max(FLOOR)
        } else {
            ((made + 20 * count) as f64 / (count * self.load.output + 1) as f64).min(1.0)
        };
        if count > 0 {
            self.now += decode_ms(context, self.load.page * self.load.pages);
        }
        self.waiting.extend(retracted);
        let (mut stay, mut ended) = (Vec::new(), 0);
        for mut seq in std::mem::take(&mut self.running) {
            if self.make(&mut seq) {
                self.end(&seq);
                ended += 1;
            } else {
                stay.push(seq);
            }
        }
        self.running = stay;
        (0..ended).for_each(|_| self.arrive());
    }
}

/// Mean TTFT and TPOT, ms, and the output throughput, tokens/s.
pub fn simulate(load: Load, rules: Rules) -> [f64; 3] {
    let mut engine = Engine {
        load,
        rules,
        now: 0.0,
        free: load.pages,
        ratio: INITIAL,
        waiting: VecDeque::new(),
        running: Vec::new(),
        arrived: 0,
        ttft: 0.0,
        tpot: 0.0,
    };
    (0..load.clients).for_each(|_| engine.arrive());
    while !(engine.waiting.is_empty() && engine.running.is_empty()) {
        match engine.admit() {
            Some((tokens, batch)) => engine.prefill(tokens, batch),
            None => engine.decode(),
        }
    }
    let count = load.requests as f64;
    [engine.ttft / count, engine.tpot / count, count * load.output as f64 / engine.now * 1000.0]
}
