//! What a viewer may change while it watches: the layer of the picture (draft-ietf-wish-whep-events, "Video Layer Selection extension"), and,
//! of our own, a lane that is muted at the server, so that it costs no bandwidth.

use super::super::reply::{self, Problem, Reply};
use super::super::request::Request;
use super::super::session::no_session;
use crate::app::App;
use crate::sessions::Session;
use relay_node::{BroadcastInfo, LayerChoice, ViewerControl};
use serde::Deserialize;
use serde_json::{Map, Value};
use skywave_media::codec::TrackKind;

/// The largest body read.
const CONTROL_MAX_BYTES: usize = 4096;

/// Members of the draft by which nothing can be chosen here.
const UNSUPPORTED: [&str; 6] =
    ["spatialLayerId", "temporalLayerId", "maxSpatialLayerId", "maxTemporalLayerId", "maxWidth", "maxHeight"];

/// The body of a layer selection.
#[derive(Debug, Deserialize)]
struct Selection {
    /// Number of the section in the SDP; the first video when it is missing. Texts in the draft, numbers with some players.
    #[serde(rename = "mediaId")]
    media_id: Option<Value>,
    /// The layer; `encodingId` in older versions of the draft. Without one, the server chooses.
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The body of a mute.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mute {
    kind: Lane,
    muted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Lane {
    Video,
    Audio,
}

/// `POST {session}/layer`: 200 when the layer will be sent.
pub(in super::super) async fn layer(
    app: &App,
    session: &Session,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let selection = json_body(request).await?;
    let broadcast = app.registry.broadcast(&session.stream).unwrap_or_default();
    let choice = choose(&selection, session.video_line, &broadcast)
        .map_err(|words| Problem::new(422, "Layer cannot be chosen", words))?;
    control(app, session, ViewerControl::Layer(choice))
}

/// `DELETE {session}/layer`: the server chooses again.
pub(in super::super) fn automatic(app: &App, session: &Session) -> Result<Reply, Problem> {
    control(app, session, ViewerControl::Layer(LayerChoice::Automatic))
}

/// `POST {session}/mute`: 200 when the lane has been muted or resumed.
pub(in super::super) async fn mute(
    app: &App,
    session: &Session,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let Mute { kind, muted } = json_body(request).await?;
    let kind = match kind {
        Lane::Video => TrackKind::Video,
        Lane::Audio => TrackKind::Audio,
    };
    control(app, session, ViewerControl::Mute { kind, muted })
}

fn control(app: &App, session: &Session, control: ViewerControl) -> Result<Reply, Problem> {
    if app.registry.control(session, control) { Ok(reply::empty(200)) } else { Err(no_session()) }
}

async fn json_body<T: serde::de::DeserializeOwned>(request: &mut Request) -> Result<T, Problem> {
    request.wants_type("application/json").map_err(|words| {
        Problem::new(415, "Unsupported media type", words).with_header("accept-post", "application/json")
    })?;
    let body = request.text(CONTROL_MAX_BYTES).await?;
    serde_json::from_str(&body)
        .map_err(|error| Problem::new(400, "Body not understood", format!("the JSON does not fit: {error}")))
}

/// What a selection asks for, when it can be had.
fn choose(
    selection: &Selection,
    video_line: Option<usize>,
    broadcast: &BroadcastInfo,
) -> Result<LayerChoice, String> {
    if let Some(member) = UNSUPPORTED.iter().find(|member| selection.rest.contains_key(**member)) {
        return Err(format!("layers are chosen by rid here, not by {member}"));
    }
    let line = video_line.ok_or("this viewer gets no video")?;
    let asked =
        selection.media_id.as_ref().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
    if let Some(asked) = asked.filter(|asked| *asked != line.to_string()) {
        return Err(format!("mediaId {asked} is not the video, which is section {line} of the SDP"));
    }
    let Some(rid) = &selection.rid else { return Ok(LayerChoice::Automatic) };
    if broadcast.layers.iter().any(|layer| layer.rid == *rid) {
        return Ok(LayerChoice::Rid(rid.clone()));
    }
    let there: Vec<&str> = broadcast.layers.iter().map(|layer| layer.rid.as_str()).collect();
    Err(format!("there is no layer {rid:?}; there are: {}", there.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_node::LayerInfo;
    use skywave_media::codec::Codec;

    fn chosen(body: &str) -> Result<LayerChoice, String> {
        let layer = LayerInfo { rid: "h".to_owned(), codec: Codec::Vp8, bitrate_bps: 1, active: true };
        let broadcast = BroadcastInfo { layers: vec![layer], ..BroadcastInfo::default() };
        let selection: Selection = serde_json::from_str(body).map_err(|e| e.to_string())?;
        choose(&selection, Some(1), &broadcast)
    }

    #[test]
    fn a_layer_is_chosen_by_its_rid_under_either_name() {
        for body in
            [r#"{"mediaId":"1","rid":"h"}"#, r#"{"mediaId":1,"encodingId":"h"}"#, r#"{"rid":"h","x":1}"#]
        {
            assert_eq!(chosen(body), Ok(LayerChoice::Rid("h".to_owned())), "{body}");
        }
        for body in ["{}", r#"{"mediaId":"1"}"#, r#"{"rid":null}"#] {
            assert_eq!(chosen(body), Ok(LayerChoice::Automatic), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        for (body, words) in [
            (r#"{"rid":"z"}"#, "there are: h"),
            (r#"{"mediaId":"0","rid":"h"}"#, "section 1"),
            (r#"{"maxWidth":640}"#, "maxWidth"),
            (r#"{"rid":7}"#, "string"),
        ] {
            assert!(chosen(body).unwrap_err().contains(words), "{body}: {:?}", chosen(body));
        }
    }

    #[test]
    fn a_mute_names_a_lane() {
        let mute: Mute = serde_json::from_str(r#"{"kind":"audio","muted":true}"#).unwrap();
        assert_eq!(mute, Mute { kind: Lane::Audio, muted: true });
        assert!(serde_json::from_str::<Mute>(r#"{"kind":"smell","muted":true}"#).is_err());
    }
}
