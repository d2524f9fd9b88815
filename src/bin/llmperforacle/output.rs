//! Standard output and files, with errors in words.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

/// Why the command ends without success.
pub enum Failure {
    /// To be printed.
    Message(String),
    /// The user has been told already.
    Explained,
    /// The reader of standard output has gone.
    Unread,
}

/// Prints to standard output.
pub fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Message(format!("cannot write to standard output: {error}")),
    })
}

/// Writes a file, with the folders on the way to it.
pub fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Failure> {
    let attempt = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut writer = BufWriter::new(File::create(path)?);
        write(&mut writer)?;
        writer.flush()
    };
    attempt().map_err(|error| Failure::Message(format!("cannot write {}: {error}", path.display())))
}
