//! The last picture as a file.

use super::error::PlayError;
use gstreamer as gst;
use std::path::Path;

/// For packing: a picture of 8192x8192 takes some seconds.
const CONVERT_LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// Writes `picture` as PNG.
///
/// # Errors
///
/// When there is no picture, or it cannot be converted or written.
pub(super) async fn save(picture: Option<gst::Sample>, path: &Path) -> Result<(), PlayError> {
    let failed = |reason: String| PlayError::Snapshot { path: path.to_owned(), reason };
    let picture = picture.ok_or_else(|| failed("no picture came".into()))?;
    let convert = move || {
        let png = gst::Caps::builder("image/png").build();
        gstreamer_video::convert_sample(&picture, &png, Some(CONVERT_LIMIT)).map_err(|e| e.to_string())
    };
    // It runs a small pipeline and waits for it.
    let converted = tokio::task::spawn_blocking(convert).await.map_err(|e| failed(e.to_string()))?;
    let sample = converted.map_err(&failed)?;
    let png = sample.buffer().and_then(|b| b.map_readable().ok());
    let bytes = png.map(|map| map.to_vec()).ok_or_else(|| failed("it came out empty".into()))?;
    tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || std::fs::write(path, bytes)
    })
    .await
    .map_err(|e| failed(e.to_string()))?
    .map_err(|e| failed(e.to_string()))
}
