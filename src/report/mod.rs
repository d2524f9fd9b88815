//! Results for people and for other programs: the summary file, one row a request, the table in the terminal, the
//! reference of metrics. Formats only: every number is made in `metrics`.

mod explain;
mod memory;
mod perfetto;
mod reference;
mod requests_csv;
mod sensitivity;
mod summary;
mod table;
mod why;

pub use explain::{moment_json, moment_text};
pub use memory::memory_text;
pub use perfetto::perfetto;
pub use reference::metrics_reference;
pub use requests_csv::requests_csv;
pub use sensitivity::{SENSITIVITY_METRICS, Varied, sensitivity_json, sensitivity_text};
pub use summary::summary;
pub use table::table;
pub use why::{Finding, Part, why};
