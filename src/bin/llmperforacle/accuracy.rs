//! `accuracy`: published runs replayed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::Args;
use llmperforacle::accuracy::{self, Factors, Record, Replayed};
use llmperforacle::catalog;
use llmperforacle::sim::Files;

use crate::output::{Failure, out};

#[derive(Args)]
pub struct Arguments {
    /// Records, one JSON object a line, with their lengths files and traces beside them. Absent: the built-in ones.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Print the compact JSON that the page shows (configs/accuracy.json).
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    compact: bool,
    /// Print docs/accuracy.md.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print the error of every kernel's fit instead of replays.
    #[arg(long, conflicts_with_all = ["json", "markdown", "compact"])]
    kernels: bool,
    /// Factor on host times, for a study of sensitivity.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    host: f64,
    /// Factor on device times, for a study of sensitivity.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    device: f64,
}

/// Files in one folder.
struct Beside(PathBuf);

impl Files for Beside {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let place = self.0.join(path);
        fs::read(&place).map_err(|error| format!("cannot read {}: {error}", place.display()))
    }
}

/// The records that come with the program.
struct Builtin;

const RUNS: &str = include_str!("../../../configs/truth/runs.jsonl");
const LENGTHS: [(&str, &str); 1] =
    [("lengths/llmss-rtxpro6000-qwen3-32b.csv", include_str!("../../../configs/truth/lengths/llmss-rtxpro6000-qwen3-32b.csv"))];

impl Files for Builtin {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let found = LENGTHS.iter().find(|(name, _)| *name == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| format!("{path} is not built in"))
    }
}

/// A record, or why it is none, and the files beside it.
type Work = (Result<Record, String>, Box<dyn Files + Sync>);

pub fn accuracy(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.kernels {
        let fits = accuracy::kernels::fits(catalog::builtin());
        return out(&format!("{}\n{}", accuracy::kernels::by_operation(&fits), accuracy::kernels::every_fit(&fits)));
    }
    let mut work: Vec<Work> = Vec::new();
    for path in &arguments.files {
        let text = fs::read_to_string(path).map_err(|error| Failure::Message(format!("cannot read {}: {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        for record in accuracy::records(&text) {
            work.push((record.map_err(|why| format!("{}: {why}", path.display())), Box::new(Beside(folder.clone()))));
        }
    }
    if arguments.files.is_empty() {
        for record in accuracy::records(RUNS) {
            work.push((record, Box::new(Builtin)));
        }
    }
    let factors = Factors { host: arguments.host, device: arguments.device, ..Factors::default() };
    let runs = replay_all(&work, factors);
    if arguments.markdown {
        let varied: Vec<(&str, Vec<Replayed>)> =
            accuracy::VARIANTS.iter().map(|(name, factors)| (*name, replay_all(&work, *factors))).collect();
        let varied: Vec<accuracy::Variant<'_>> = varied.iter().map(|(name, runs)| (*name, runs.as_slice())).collect();
        return out(&accuracy::markdown(&runs, &varied));
    }
    if arguments.compact {
        return out(&format!("{}\n", accuracy::compact(&runs)));
    }
    if arguments.json { out(&format!("{:#}\n", accuracy::report(&runs))) } else { out(&accuracy::table(&runs)) }
}

/// Replays on all cores; the order of the results is that of the records.
fn replay_all(work: &[Work], factors: Factors) -> Vec<Replayed> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Replayed)>> = Mutex::new(Vec::with_capacity(work.len()));
    let threads = thread::available_parallelism().map_or(1, |count| count.get()).min(work.len().max(1));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, (record, files))) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    work.get(index).map(|each| (index, each))
                } {
                    let replayed = match record {
                        Ok(record) => accuracy::replay(record, files.as_ref(), factors),
                        Err(why) => Replayed::unread(why.split(": ").next().unwrap_or_default(), why.clone()),
                    };
                    done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, replayed));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, replayed)| replayed).collect()
}
