//! Every tag of draft-pantos-hls-rfc8216bis (section 4.4): where it may stand, how often, and what it carries.

/// Type of an attribute's value (section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Float,
    SignedFloat,
    Quoted,
    /// A quoted date.
    Date,
    Hex,
    Resolution,
    Enum(&'static [&'static str]),
    /// A quoted byte range, `"n[@o]"`.
    Range,
}

/// One attribute of a tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What stands behind a tag's name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// Nothing.
    Bare,
    /// A decimal integer.
    Int,
    /// Something of its own.
    Own,
    /// An attribute list.
    List(&'static [Attribute]),
}

/// Where a tag may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In any playlist.
    Any,
    /// In a media playlist, about all of it.
    Media,
    /// In a media playlist, about the next segment.
    Segment,
    /// In a multivariant playlist.
    Multivariant,
}

/// One tag.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// It must not stand more than once in a playlist.
    pub(crate) once: bool,
    pub(crate) form: Form,
}

const fn must(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, kind, required: true }
}

const fn may(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, kind, required: false }
}

const fn tag(name: &'static str, place: Place, once: bool, form: Form) -> Tag {
    Tag { name, place, once, form }
}

const YES: Kind = Kind::Enum(&["YES"]);
const YES_OR_NO: Kind = Kind::Enum(&["YES", "NO"]);
const METHODS: Kind = Kind::Enum(&["NONE", "AES-128", "AES-256-GCM", "SAMPLE-AES", "SAMPLE-AES-CTR"]);
const KEY: &[Attribute] = &[
    must("METHOD", METHODS),
    may("URI", Kind::Quoted),
    may("IV", Kind::Hex),
    may("KEYFORMAT", Kind::Quoted),
    may("KEYFORMATVERSIONS", Kind::Quoted),
];
const HDCP: Kind = Kind::Enum(&["NONE", "TYPE-0", "TYPE-1"]);
const VIDEO_RANGE: Kind = Kind::Enum(&["SDR", "HLG", "PQ"]);

const STREAM: &[Attribute] = &[
    must("BANDWIDTH", Kind::Int),
    may("AVERAGE-BANDWIDTH", Kind::Int),
    may("SCORE", Kind::Float),
    may("CODECS", Kind::Quoted),
    may("SUPPLEMENTAL-CODECS", Kind::Quoted),
    may("RESOLUTION", Kind::Resolution),
    may("FRAME-RATE", Kind::Float),
    may("HDCP-LEVEL", HDCP),
    may("ALLOWED-CPC", Kind::Quoted),
    may("VIDEO-RANGE", VIDEO_RANGE),
    may("REQ-VIDEO-LAYOUT", Kind::Quoted),
    may("STABLE-VARIANT-ID", Kind::Quoted),
    may("AUDIO", Kind::Quoted),
    may("VIDEO", Kind::Quoted),
    may("SUBTITLES", Kind::Quoted),
    may("CLOSED-CAPTIONS", Kind::Quoted),
    may("PATHWAY-ID", Kind::Quoted),
];

const I_FRAME_STREAM: &[Attribute] = &[
    must("BANDWIDTH", Kind::Int),
    must("URI", Kind::Quoted),
    may("AVERAGE-BANDWIDTH", Kind::Int),
    may("SCORE", Kind::Float),
    may("CODECS", Kind::Quoted),
    may("SUPPLEMENTAL-CODECS", Kind::Quoted),
    may("RESOLUTION", Kind::Resolution),
    may("HDCP-LEVEL", HDCP),
    may("ALLOWED-CPC", Kind::Quoted),
    may("VIDEO-RANGE", VIDEO_RANGE),
    may("REQ-VIDEO-LAYOUT", Kind::Quoted),
    may("STABLE-VARIANT-ID", Kind::Quoted),
    may("VIDEO", Kind::Quoted),
    may("PATHWAY-ID", Kind::Quoted),
];

const MEDIA: &[Attribute] = &[
    must("TYPE", Kind::Enum(&["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"])),
    must("GROUP-ID", Kind::Quoted),
    must("NAME", Kind::Quoted),
    may("URI", Kind::Quoted),
    may("LANGUAGE", Kind::Quoted),
    may("ASSOC-LANGUAGE", Kind::Quoted),
    may("STABLE-RENDITION-ID", Kind::Quoted),
    may("DEFAULT", YES_OR_NO),
    may("AUTOSELECT", YES_OR_NO),
    may("FORCED", YES_OR_NO),
    may("INSTREAM-ID", Kind::Quoted),
    may("BIT-DEPTH", Kind::Int),
    may("SAMPLE-RATE", Kind::Int),
    may("CHARACTERISTICS", Kind::Quoted),
    may("CHANNELS", Kind::Quoted),
];

const DATERANGE: &[Attribute] = &[
    must("ID", Kind::Quoted),
    // Required in a range's first tag, not in its updates; checked where ranges are put together.
    may("START-DATE", Kind::Date),
    may("CLASS", Kind::Quoted),
    may("CUE", Kind::Quoted),
    may("END-DATE", Kind::Date),
    may("DURATION", Kind::Float),
    may("PLANNED-DURATION", Kind::Float),
    may("SCTE35-CMD", Kind::Hex),
    may("SCTE35-OUT", Kind::Hex),
    may("SCTE35-IN", Kind::Hex),
    may("END-ON-NEXT", YES),
];

/// All tags.
pub(crate) const TAGS: &[Tag] = &[
    tag("EXTM3U", Place::Any, true, Form::Bare),
    tag("EXT-X-VERSION", Place::Any, true, Form::Int),
    tag("EXT-X-INDEPENDENT-SEGMENTS", Place::Any, true, Form::Bare),
    tag(
        "EXT-X-START",
        Place::Any,
        true,
        Form::List(&[must("TIME-OFFSET", Kind::SignedFloat), may("PRECISE", YES_OR_NO)]),
    ),
    tag(
        "EXT-X-DEFINE",
        Place::Any,
        false,
        Form::List(&[
            may("NAME", Kind::Quoted),
            may("VALUE", Kind::Quoted),
            may("IMPORT", Kind::Quoted),
            may("QUERYPARAM", Kind::Quoted),
        ]),
    ),
    tag("EXT-X-TARGETDURATION", Place::Media, true, Form::Int),
    tag("EXT-X-MEDIA-SEQUENCE", Place::Media, true, Form::Int),
    tag("EXT-X-DISCONTINUITY-SEQUENCE", Place::Media, true, Form::Int),
    tag("EXT-X-ENDLIST", Place::Media, true, Form::Bare),
    tag("EXT-X-PLAYLIST-TYPE", Place::Media, true, Form::Own),
    tag("EXT-X-I-FRAMES-ONLY", Place::Media, true, Form::Bare),
    tag("EXT-X-PART-INF", Place::Media, true, Form::List(&[must("PART-TARGET", Kind::Float)])),
    tag(
        "EXT-X-SERVER-CONTROL",
        Place::Media,
        true,
        Form::List(&[
            may("CAN-SKIP-UNTIL", Kind::Float),
            may("CAN-SKIP-DATERANGES", YES),
            may("HOLD-BACK", Kind::Float),
            may("PART-HOLD-BACK", Kind::Float),
            may("CAN-BLOCK-RELOAD", YES),
        ]),
    ),
    tag("EXTINF", Place::Segment, false, Form::Own),
    tag("EXT-X-BYTERANGE", Place::Segment, false, Form::Own),
    tag("EXT-X-DISCONTINUITY", Place::Segment, false, Form::Bare),
    tag("EXT-X-KEY", Place::Segment, false, Form::List(KEY)),
    tag(
        "EXT-X-MAP",
        Place::Segment,
        false,
        Form::List(&[must("URI", Kind::Quoted), may("BYTERANGE", Kind::Range)]),
    ),
    tag("EXT-X-PROGRAM-DATE-TIME", Place::Segment, false, Form::Own),
    tag("EXT-X-GAP", Place::Segment, false, Form::Bare),
    tag("EXT-X-BITRATE", Place::Segment, false, Form::Int),
    tag(
        "EXT-X-PART",
        Place::Segment,
        false,
        Form::List(&[
            must("URI", Kind::Quoted),
            must("DURATION", Kind::Float),
            may("INDEPENDENT", YES),
            may("BYTERANGE", Kind::Range),
            may("GAP", YES),
        ]),
    ),
    tag("EXT-X-DATERANGE", Place::Media, false, Form::List(DATERANGE)),
    tag(
        "EXT-X-SKIP",
        Place::Media,
        true,
        Form::List(&[must("SKIPPED-SEGMENTS", Kind::Int), may("RECENTLY-REMOVED-DATERANGES", Kind::Quoted)]),
    ),
    tag(
        "EXT-X-PRELOAD-HINT",
        Place::Media,
        false,
        Form::List(&[
            must("TYPE", Kind::Enum(&["PART", "MAP"])),
            must("URI", Kind::Quoted),
            may("BYTERANGE-START", Kind::Int),
            may("BYTERANGE-LENGTH", Kind::Int),
        ]),
    ),
    tag(
        "EXT-X-RENDITION-REPORT",
        Place::Media,
        false,
        Form::List(&[
            must("URI", Kind::Quoted),
            // Both may be left out where they are those of the playlist itself (section 4.4.5.4).
            may("LAST-MSN", Kind::Int),
            may("LAST-PART", Kind::Int),
        ]),
    ),
    tag("EXT-X-MEDIA", Place::Multivariant, false, Form::List(MEDIA)),
    tag("EXT-X-STREAM-INF", Place::Multivariant, false, Form::List(STREAM)),
    tag("EXT-X-I-FRAME-STREAM-INF", Place::Multivariant, false, Form::List(I_FRAME_STREAM)),
    tag(
        "EXT-X-SESSION-DATA",
        Place::Multivariant,
        false,
        Form::List(&[
            must("DATA-ID", Kind::Quoted),
            may("VALUE", Kind::Quoted),
            may("URI", Kind::Quoted),
            may("FORMAT", Kind::Enum(&["JSON", "RAW"])),
            may("LANGUAGE", Kind::Quoted),
        ]),
    ),
    tag("EXT-X-SESSION-KEY", Place::Multivariant, false, Form::List(KEY)),
    tag(
        "EXT-X-CONTENT-STEERING",
        Place::Multivariant,
        true,
        Form::List(&[must("SERVER-URI", Kind::Quoted), may("PATHWAY-ID", Kind::Quoted)]),
    ),
];
