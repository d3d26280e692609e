//! The child process that reads a file: `skywave file ..`, hidden, started by this program alone.
//!
//! The file is its standard input, already open: it may have no name any more. What it finds comes from its standard output.

use skywave_media::convert_proto::FromConverter;
use skywave_media::worker_proto::MessageReader;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The name under which a process finds its own standard input, as a file to open anew.
const STANDARD_INPUT: &str = "/dev/fd/0";

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Longest line of a child's complaints that is kept, in characters.
const MAX_LINE: usize = 300;

/// A child that reads a file. Dropping it ends it.
pub(crate) struct Converter {
    child: Child,
    stdout: ChildStdout,
    messages: MessageReader<FromConverter>,
    chunk: Vec<u8>,
    last_words: Arc<Mutex<String>>,
}

impl Converter {
    /// One that turns a foreign file into frames.
    pub(crate) fn frames(file: &File) -> io::Result<Self> {
        Self::start(file, &["frames".to_owned()])
    }

    /// One that makes the pictures of a finished recording so long.
    pub(crate) fn pictures(file: &File, duration: Duration) -> io::Result<Self> {
        Self::start(file, &["pictures".to_owned(), duration.as_millis().to_string()])
    }

    fn start(file: &File, arguments: &[String]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("file")
            .args(arguments)
            .stdin(file.try_clone()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let last_words = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&last_words);
        // Ends with the child.
        std::thread::spawn(move || {
            for line in
                stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines()).map_while(Result::ok)
            {
                tracing::debug!(line, "a child that reads a file");
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = line.chars().take(MAX_LINE).collect();
            }
        });
        let stdout = stdout.ok_or_else(|| io::Error::other("the child has no standard output"))?;
        Ok(Self { child, stdout, messages: MessageReader::new(), chunk: vec![0; CHUNK_BYTES], last_words })
    }

    /// What it says next. Waits for it.
    ///
    /// # Errors
    /// When the child died, or broke the rules: in words.
    pub(crate) fn next(&mut self) -> Result<FromConverter, String> {
        loop {
            match self.messages.poll() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(format!("the process that reads it talks nonsense: {error}")),
            }
            match self.stdout.read(&mut self.chunk) {
                Ok(0) => return Err(self.death()),
                Ok(read) => self.messages.handle_bytes(&self.chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("the process that reads it cannot be heard: {error}")),
            }
        }
    }

    fn death(&mut self) -> String {
        let status = self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let last = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let last = if last.is_empty() { "nothing" } else { last.as_str() };
        format!("the process that reads it has died ({status}); the last that it said: {last}")
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        // It has ended already, or is of no use any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's own `main`, of the first kind.
pub(crate) fn frames_main() -> ExitCode {
    skywave_gst::file::frames(STANDARD_INPUT.as_ref())
}

/// The child's own `main`, of the second kind.
pub(crate) fn pictures_main(duration: Duration) -> ExitCode {
    skywave_gst::file::pictures(STANDARD_INPUT.as_ref(), duration)
}
