//! `skywave vod`: recordings on the disk. Most of it works with or without a server beside.

mod import;
mod sources;

use super::{Sources, fail, load_sources, say};
use crate::config::Config;
use crate::config::load::Override;
use crate::recordings::manifest::{Files, Manifest};
use crate::recordings::{self, disk};
use clap::{Args, Subcommand};
use skywave_media::hls::parse_date_time;
use skywave_media::name::StreamName;
use skywave_media::recording::{check, finish};
use skywave_media::time::UnixTime;
use std::fs::File;
use std::io::{BufReader, BufWriter, IntoInnerError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

#[derive(Subcommand)]
pub(super) enum VodCommand {
    /// List the recordings of a data folder.
    List {
        #[command(flatten)]
        place: Place,
        /// As JSON, one manifest a line.
        #[arg(long)]
        json: bool,
    },
    /// Show everything that is known of one recording.
    Show {
        #[command(flatten)]
        place: Place,
        stream: StreamName,
        id: String,
    },
    /// Read recordings back: hash, tracks, samples. All of the data folder, or one.
    Verify {
        #[command(flatten)]
        place: Place,
        stream: Option<StreamName>,
        #[arg(requires = "stream")]
        id: Option<String>,
    },
    /// Copy a finished recording out of the data folder.
    Export {
        #[command(flatten)]
        place: Place,
        stream: StreamName,
        id: String,
        /// The file to write; one that is there already is left alone.
        output: PathBuf,
    },
    /// Make a recording of a WebM or MP4 file, or of a folder with the pieces of one in which a browser (MediaRecorder) handed it out, while no server
    /// uses the data folder. H.264 and AAC that fit are copied; everything else is encoded.
    Import {
        #[command(flatten)]
        place: Place,
        /// The stream whose recording it becomes.
        stream: StreamName,
        /// The file, or the folder.
        source: PathBuf,
        /// When it begins (RFC 3339, 2026-11-26T12:00:00Z); otherwise what the file says, or when it was written.
        #[arg(long, value_name = "TIME", value_parser = date_time)]
        begun: Option<UnixTime>,
    },
    /// Remove a recording for good, while no server uses the folder (a server does it by DELETE /api/v1/recordings/STREAM/ID).
    Rm {
        #[command(flatten)]
        place: Place,
        stream: StreamName,
        id: String,
    },
    /// Make a file that plays everywhere of what a crash has left (a .part), or make a recording's tables anew. What is given is only read.
    Repair {
        file: PathBuf,
        /// The file to write; one that is there already is left alone.
        output: PathBuf,
    },
}

#[derive(Args)]
pub(super) struct Place {
    #[command(flatten)]
    sources: Sources,
    /// The data folder (key storage.data_dir).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(command: VodCommand) -> ExitCode {
    let outcome = match command {
        VodCommand::List { place, json } => list(&place, json),
        VodCommand::Show { place, stream, id } => show(&place, &stream, &id),
        VodCommand::Verify { place, stream, id } => verify(&place, stream.as_ref(), id.as_deref()),
        VodCommand::Export { place, stream, id, output } => export(&place, &stream, &id, &output),
        VodCommand::Import { place, stream, source, begun } => load(&place)
            .and_then(|config| import::run(&config, &stream, &source, begun).map_err(|words| (1, words))),
        VodCommand::Rm { place, stream, id } => remove(&place, &stream, &id),
        VodCommand::Repair { file, output } => repair(&file, &output),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, words)) => fail(code, &words),
    }
}

type Outcome = Result<(), (u8, String)>;

fn date_time(text: &str) -> Result<UnixTime, String> {
    parse_date_time(text).ok_or_else(|| format!("{text:?} is no time such as 2026-11-26T12:00:00Z"))
}

fn load(place: &Place) -> Result<Config, (u8, String)> {
    let flag = place.data_dir.as_ref().map(|dir| Override {
        origin: "flag --data-dir".to_owned(),
        key: "storage.data_dir".to_owned(),
        value: dir.display().to_string(),
    });
    let flags = flag.into_iter().collect();
    load_sources(place.sources.config.as_deref(), &place.sources.settings, flags)
        .map_err(|error| (2, error.to_string()))
}

/// The folder of recordings, and all manifests in it.
fn read(place: &Place) -> Result<(PathBuf, Vec<Manifest>), (u8, String)> {
    let config = load(place)?;
    let root = recordings::root(&config);
    match recordings::catalogue(&root) {
        Ok(all) => Ok((root, all)),
        Err(error) => Err((1, format!("cannot read {}: {error}", root.display()))),
    }
}

fn find(place: &Place, stream: &StreamName, id: &str) -> Result<(Files, Manifest), (u8, String)> {
    let (root, all) = read(place)?;
    let found = all.into_iter().find(|manifest| manifest.stream == *stream && manifest.id == id);
    let words = || {
        format!(
            "there is no recording {id} of {stream} in {}; `skywave vod list` shows what there is",
            root.display()
        )
    };
    let manifest = found.ok_or_else(|| (1, words()))?;
    Ok((Files::new(&root.join(stream.as_str()), id), manifest))
}

fn list(place: &Place, json: bool) -> Outcome {
    let (root, all) = read(place)?;
    if all.is_empty() && !json {
        say(&format!("no recordings in {}", root.display()));
    }
    for manifest in all {
        if json {
            say(&serde_json::to_string(&manifest).map_err(|error| (1, error.to_string()))?);
        } else {
            let seconds = manifest.duration_ms / 1000;
            let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let megabytes = manifest.bytes as f64 / 1e6;
            let state = format!("{:?}", manifest.state).to_lowercase();
            say(&format!(
                "{:20} {:16} {} {hours:3}:{minutes:02}:{rest:02} {megabytes:10.1} MB  {state}",
                manifest.stream.as_str(),
                manifest.id,
                manifest.begun,
            ));
        }
    }
    Ok(())
}

fn show(place: &Place, stream: &StreamName, id: &str) -> Outcome {
    let (_, manifest) = find(place, stream, id)?;
    say(&serde_json::to_string_pretty(&manifest).map_err(|error| (1, error.to_string()))?);
    Ok(())
}

fn verify(place: &Place, stream: Option<&StreamName>, id: Option<&str>) -> Outcome {
    let (root, all) = read(place)?;
    let wanted = |manifest: &&Manifest| {
        stream.is_none_or(|stream| manifest.stream == *stream) && id.is_none_or(|id| manifest.id == id)
    };
    let chosen: Vec<&Manifest> = all.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err((1, format!("there is no such recording in {}", root.display())));
    }
    let mut bad = 0;
    for manifest in chosen {
        let files = Files::new(&root.join(manifest.stream.as_str()), &manifest.id);
        let verdict = match recordings::verify(&files, manifest) {
            Ok(()) => "good".to_owned(),
            Err(reason) => {
                bad += 1;
                format!("BAD: {reason}")
            }
        };
        say(&format!("{} {}: {verdict}", manifest.stream, manifest.id));
    }
    if bad == 0 { Ok(()) } else { Err((1, format!("{bad} of the recordings are not what they should be"))) }
}

fn export(place: &Place, stream: &StreamName, id: &str, output: &Path) -> Outcome {
    let (files, manifest) = find(place, stream, id)?;
    if !manifest.is_playable() {
        return Err((1, format!("{id} is not finished: its state is {:?}", manifest.state).to_lowercase()));
    }
    let io = |error: std::io::Error| (1, format!("cannot copy {id} to {}: {error}", output.display()));
    let mut from = File::open(files.finished(manifest.container)).map_err(io)?;
    let mut to = File::create_new(output).map_err(io)?;
    let bytes =
        std::io::copy(&mut from, &mut to).and_then(|bytes| to.sync_all().map(|()| bytes)).map_err(io)?;
    say(&format!("{}: {bytes} bytes", output.display()));
    Ok(())
}

fn remove(place: &Place, stream: &StreamName, id: &str) -> Outcome {
    let (root, _) = read(place)?;
    let (files, _) = find(place, stream, id)?;
    recordings::remove_offline(&root, &files).map_err(|error| (1, format!("cannot remove {id}: {error}")))
}

fn repair(file: &Path, output: &Path) -> Outcome {
    let shown = file.display();
    let open = |error: std::io::Error| (1, format!("cannot read {shown}: {error}"));
    let input = File::open(file).map_err(open)?;
    let meta = input.metadata().map_err(open)?;
    let changed = meta.created().or_else(|_| meta.modified()).ok();
    let since = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let begun = UnixTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let write = |error: std::io::Error| (1, format!("cannot write {}: {error}", output.display()));
    let mut out = BufWriter::new(File::create_new(output).map_err(write)?);
    let finished = finish(&mut BufReader::new(input), meta.len(), begun, &mut out)
        .map_err(|error| error.to_string())
        .and_then(|finished| {
            let file = out.into_inner().map_err(IntoInnerError::into_error).map_err(|e| e.to_string())?;
            file.sync_all().map_err(|e| e.to_string())?;
            let mut written = BufReader::new(File::open(output).map_err(|e| e.to_string())?);
            check(&mut written, finished.bytes, &finished.tracks).map_err(|e| e.to_string())?;
            Ok(finished)
        });
    match finished {
        Ok(finished) => {
            let seconds = finished.duration.as_secs_f64();
            say(&format!(
                "{}: {seconds:.3} s; {} bytes were not whole",
                output.display(),
                finished.lost_bytes
            ));
            Ok(())
        }
        Err(reason) => {
            let _nothing_to_keep = disk::remove(output);
            Err((1, format!("{shown} cannot be repaired: {reason}")))
        }
    }
}
