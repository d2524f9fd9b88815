//! From a document to runs: names are looked up, defaults filled in, and everything that cannot be honoured is refused here.

use crate::config::{Diagnostic, Document};

/// Files a document names, from disk or dropped on the page.
pub trait Files {
    /// The file's bytes, or why they cannot be had, in words.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// Everything needed to simulate one entry (or the shared group of entries).
#[derive(Clone, Debug)]
pub struct RunPlan {
    pub name: String,
    /// Jump over steps with an unchanged batch; off takes every step singly, with the same result to the bit.
    pub fast_path: bool,
}

/// A document made ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub runs: Vec<RunPlan>,
    pub warnings: Vec<Diagnostic>,
    /// Rough number of work units (`Simulation::advance`) of all runs, so that a page can ask before a long one.
    pub estimated_work: u64,
}

/// Makes a document ready to run, or says everything that stands in the way.
pub fn plan(_document: &Document, _files: &dyn Files) -> Result<Plan, Vec<Diagnostic>> {
    Ok(Plan { runs: Vec::new(), warnings: Vec::new(), estimated_work: 0 })
}
