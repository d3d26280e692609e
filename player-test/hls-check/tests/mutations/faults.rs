//! The planted faults, in the order of the rules.

use hls_check::{Ask, Event, Nonsense, Piece};

use crate::stream::{self, AUDIO, I_FRAMES, JUMP, VIDEO, ms};
use crate::{Planted, answer_of, each_piece, each_playlist};

fn fault(rules: &'static [&'static str], plant: impl Fn(&mut Vec<Event>) + 'static) -> Planted {
    Planted { rules, plant: Box::new(plant) }
}

/// Replaces text in every playlist of the video.
fn text(rules: &'static [&'static str], from: &'static str, to: &'static str) -> Planted {
    fault(rules, move |events| each_playlist(events, VIDEO, |text, _| *text = text.replace(from, to)))
}

/// The same in all renditions.
fn text_of_all(rules: &'static [&'static str], from: &'static str, to: &'static str) -> Planted {
    fault(rules, move |events| {
        for at in [AUDIO, VIDEO, I_FRAMES] {
            each_playlist(events, at, |text, _| *text = text.replace(from, to));
        }
    })
}

/// Replaces text in the multivariant playlist.
fn multivariant(rules: &'static [&'static str], from: &'static str, to: &'static str) -> Planted {
    fault(rules, move |events| {
        let Event::Multivariant(answer) = &mut events[0] else { unreachable!() };
        answer.body = String::from_utf8(answer.body.to_vec()).unwrap().replace(from, to).into();
    })
}

/// Rewrites one event, the `n`th of those that `which` takes.
fn one(
    rules: &'static [&'static str],
    n: usize,
    which: fn(&Event) -> bool,
    edit: impl Fn(&mut Event) + 'static,
) -> Planted {
    fault(rules, move |events| edit(events.iter_mut().filter(|event| which(event)).nth(n).unwrap()))
}

fn edit_text(event: &mut Event, edit: impl Fn(String) -> String) {
    let answer = answer_of(event);
    answer.body = edit(String::from_utf8(answer.body.to_vec()).unwrap()).into();
}

fn video_playlist(event: &Event) -> bool {
    matches!(event, Event::Playlist(VIDEO, Ask { skip: None, .. }, _))
}

fn video_delta(event: &Event) -> bool {
    matches!(event, Event::Playlist(VIDEO, Ask { skip: Some(_), .. }, _))
}

fn status(event: &mut Event, status: u16) {
    answer_of(event).status = status;
}

/// Drops the lines from the one that begins with `from` up to the one before that begins with `to`.
fn without(text: &str, from: &str, to: &str) -> String {
    let mut dropping = false;
    let kept = text.lines().filter(|line| {
        dropping = (dropping || line.starts_with(from)) && !line.starts_with(to);
        !dropping
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// Drops the lines that begin with `prefix`.
fn without_lines(text: &str, prefix: &str) -> String {
    text.lines().filter(|line| !line.starts_with(prefix)).map(|line| format!("{line}\n")).collect()
}

pub(crate) fn all() -> Vec<Planted> {
    [syntax(), whole_playlists(), parts(), reloads(), variants(), media(), directives(), caches()]
        .into_iter()
        .flatten()
        .collect()
}

fn syntax() -> Vec<Planted> {
    vec![
        one(&["4-content-type"], 20, video_playlist, |event| {
            answer_of(event).headers[0].1 = "text/plain".to_owned();
        }),
        one(&["4.1-text"], 20, video_playlist, |event| {
            edit_text(event, |text| text.replace("#EXT-X-TARGET", "# \u{7}\n#EXT-X-TARGET"));
        }),
        one(&["4.1-text"], 20, video_playlist, |event| edit_text(event, |text| format!("\u{feff}{text}"))),
        one(&["4.1-text"], 100, video_playlist, |event| answer_of(event).body = vec![0xff, 0xfe].into()),
        one(&["4.1-blanks"], 20, video_playlist, |event| {
            edit_text(event, |text| {
                text.replace("SEGMENTS\n", "SEGMENTS \n").replace("SEGMENTS \n", "SEGMENTS\n \n")
            });
        }),
        text(&["4.1-tag-form"], "EXTINF:1.00000,", "EXTINF:1.00000"),
        text(&["4.1-tag-form"], "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-INDEPENDENT-SEGMENTS:YES"),
        text(&["4.1-unknown"], "#EXT-X-VERSION", "#EXT-X-ALLOW-CACHE:NO\n#EXT-X-VERSION"),
        text(&["4.1-unknown"], "INDEPENDENT=YES", "INDEPENDENT=YES,X-MINE=1"),
        text(&["4.2-syntax"], "INDEPENDENT=YES", "INDEPENDENT=YES,,"),
        text(&["4.2-repeated-attribute"], "INDEPENDENT=YES", "INDEPENDENT=YES,INDEPENDENT=YES"),
        text(&["4.2-value"], "INDEPENDENT=YES", "INDEPENDENT=YES,GAP=NO"),
        text_of_all(&["4.2-value"], "SCTE35-OUT=0xFC30", "SCTE35-OUT=FC30"),
        text(
            &["4.2-required"],
            "#EXT-X-PRELOAD-HINT:TYPE=PART",
            "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI=\"x\"\n#EXT-X-PRELOAD-HINT:TYPE=PART",
        )
        .with(|text| text.replace("TYPE=MAP,URI", "TYPE=MAP,BYTERANGE-START=0#").replace("#=\"x\"", "")),
        text(&["4.4-kind"], "#EXT-X-VERSION", "#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-VERSION"),
        text(&["4.4-once"], "#EXT-X-TARGETDURATION:1", "#EXT-X-TARGETDURATION:1\n#EXT-X-TARGETDURATION:1"),
        text(&["4.4.1.1-first-line"], "#EXTM3U\n", "# hello\n#EXTM3U\n"),
        one(&["4.4.3.2-before-segments"], 30, video_playlist, |event| {
            edit_text(event, |text| {
                text.replace("#EXT-X-MEDIA-SEQUENCE:0\n", "")
                    .replace("#EXT-X-PRELOAD", "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PRELOAD")
            });
        }),
        one(&["4.4.3.3-before-segments"], 30, video_playlist, |event| {
            let tag = "#EXT-X-DISCONTINUITY-SEQUENCE:0\n";
            edit_text(event, |text| {
                text.replace(tag, "").replace("#EXT-X-PRELOAD", &format!("{tag}#EXT-X-PRELOAD"))
            });
        }),
        text(
            &["4.4.4.1-required", "4.4.4.1-extinf", "3.2-part-sum", "our-date-extinf"],
            "#EXTINF:1.00000,\n3.m4s",
            "3.m4s",
        ),
        fault(&["4.4.4.2-begin"], |events| {
            each_playlist(events, I_FRAMES, |text, _| *text = text.replace("@0", ""));
        }),
        text(
            &["4.4.4.6-date", "B.1-date", "4.4.5.1-daterange", "6.2.1-date-discontinuity"],
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T",
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01 ",
        )
        .plus_date(),
    ]
}

impl Planted {
    /// With a second edit of the video's playlists.
    fn with(self, edit: impl Fn(&str) -> String + 'static) -> Self {
        let Self { rules, plant } = self;
        fault(rules, move |events| {
            plant(events);
            each_playlist(events, VIDEO, |text, _| *text = edit(text));
        })
    }

    /// Dates that cannot be read are none: the other renditions' must go too, or they would differ.
    fn plus_date(self) -> Self {
        let Self { rules, plant } = self;
        fault(rules, move |events| {
            plant(events);
            for at in [AUDIO, I_FRAMES] {
                each_playlist(events, at, |text, _| {
                    *text = text.replace("TIME:2026-01-01T", "TIME:2026-01-01 ");
                });
            }
        })
    }
}

fn whole_playlists() -> Vec<Planted> {
    vec![
        text(&["3.1.2-map"], "#EXT-X-MAP:URI=\"init.mp4\"\n", "").without_media(VIDEO),
        text(&["4.4.3.1-required", "6.2.4-target"], "#EXT-X-TARGETDURATION:1\n", ""),
        text(
            &["4.4.3.1-extinf", "3.2-part-sum", "4.4.4.1-extinf", "our-date-extinf"],
            "#EXTINF:1.00000,\n20.m4s",
            "#EXTINF:1.60000,\n20.m4s",
        ),
        text_of_all(&["4.4.3.8-hold-back"], "HOLD-BACK=3.0", "HOLD-BACK=2.9"),
        text_of_all(&["4.4.3.8-part-hold-back"], ",PART-HOLD-BACK=0.6", ""),
        text_of_all(&["4.4.3.8-part-hold-back"], "PART-HOLD-BACK=0.6", "PART-HOLD-BACK=0.3"),
        text_of_all(&["4.4.3.8-part-hold-back-thrice"], "PART-HOLD-BACK=0.6", "PART-HOLD-BACK=0.4"),
        text_of_all(&["4.4.3.8-skip-boundary"], "CAN-SKIP-UNTIL=6.0", "CAN-SKIP-UNTIL=5.5"),
        text(
            &["4.4.5.1-daterange"],
            "DURATION=3.0,SCTE",
            "DURATION=3.0,END-DATE=\"2026-01-01T00:00:11.500Z\",SCTE",
        ),
        text(&["4.4.5.1-daterange"], "DURATION=3.0,SCTE", "DURATION=3.0,END-ON-NEXT=YES,SCTE"),
        one(&["4.4.5.3-hint-after-end"], 151, video_playlist, |event| {
            edit_text(event, |text| text + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"30.0.m4s\"\n");
        }),
        text(&["6.2.2-event"], "#EXT-X-TARGETDURATION", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-TARGETDURATION"),
        text(
            &["6.2.6-one-hint"],
            "#EXT-X-RENDITION-REPORT",
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"x.m4s\"\n#EXT-X-RENDITION-REPORT",
        ),
        text(&["8-version"], "#EXT-X-VERSION:6", "#EXT-X-VERSION:5"),
        text(&["8-version"], "#EXT-X-VERSION:9", "#EXT-X-VERSION:8"),
        text_of_all(&["B.1-block-reload"], "CAN-BLOCK-RELOAD=YES,", ""),
        fault(&["B.1-date", "4.4.5.1-daterange", "6.2.1-date-discontinuity"], |events| {
            for at in [AUDIO, VIDEO, I_FRAMES] {
                each_playlist(events, at, |text, _| *text = without_lines(text, "#EXT-X-PROGRAM-DATE-TIME"));
            }
        }),
        fault(&["B.1-hint"], |events| {
            each_playlist(events, VIDEO, |text, _| *text = without_lines(text, "#EXT-X-PRELOAD"));
        }),
        fault(&["B.1-reports"], |events| {
            each_playlist(events, VIDEO, |text, _| *text = without_lines(text, "#EXT-X-RENDITION"));
        }),
        fault(&["6.2.1-date-discontinuity"], |events| {
            each_playlist(events, VIDEO, |text, _| {
                *text = text.replace("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:08.500Z\n", "");
            });
        }),
        // Another date for the same segment, in all versions.
        text(&["6.2.1-date-order", "6.2.4-dates", "our-date-extinf"], "00:00:20.500Z", "00:00:19.000Z"),
        text(&["our-date-extinf", "6.2.4-dates"], "00:00:20.500Z", "00:00:20.600Z"),
    ]
}

impl Planted {
    /// Without the media of a rendition: where there is no map nothing can be said of them.
    fn without_media(self, rendition: usize) -> Self {
        let Self { rules, plant } = self;
        fault(rules, move |events| {
            plant(events);
            events.retain(
                |event| !matches!(event, Event::Media(at, ..) | Event::Map(at, ..) if *at == rendition),
            );
        })
    }
}

fn parts() -> Vec<Planted> {
    vec![
        text(&["4.4.3.7-part-inf"], "#EXT-X-PART-INF:PART-TARGET=0.2\n", ""),
        text(
            &["3.2-part-sum", "4.4.4.9-part-duration"],
            "0.20000,URI=\"20.3.m4s\"",
            "0.19000,URI=\"20.3.m4s\"",
        ),
        text(
            &["4.4.4.9-part-target", "3.2-part-sum", "4.4.4.9-part-duration"],
            "0.20000,URI=\"20.3.m4s\"",
            "0.21000,URI=\"20.3.m4s\"",
        ),
        text(
            &["4.4.4.9-part-minimum", "3.2-part-sum", "4.4.4.9-part-duration"],
            "0.20000,URI=\"20.3.m4s\"",
            "0.16000,URI=\"20.3.m4s\"",
        ),
        fault(&["4.4.4.9-part-duration", "3.2-part-samples", "6.2.1-timeline"], |events| {
            each_piece(events, VIDEO, 20, |piece, answer| {
                if piece == Piece::Part(20, 3) {
                    answer.body = stream::fragment(21_100, &[(100, false, stream::picture(false, 1))]).into();
                }
            });
        }),
        text(
            &["4.4.4.9-independent"],
            "0.20000,URI=\"20.3.m4s\"",
            "0.20000,URI=\"20.3.m4s\",INDEPENDENT=YES",
        ),
        text(&["4.4.4.9-independent-unmarked"], "URI=\"20.0.m4s\",INDEPENDENT=YES", "URI=\"20.0.m4s\""),
        fault(&["4.4.4.9-tags-before-parts"], |events| {
            let tag = "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:20.500Z\n";
            let part = "#EXT-X-PART:DURATION=0.20000,URI=\"20.0.m4s\",INDEPENDENT=YES\n";
            each_playlist(events, VIDEO, |text, _| {
                *text = text.replace(&format!("{tag}{part}"), &format!("{part}{tag}"));
            });
        }),
        text(
            &["6.2.1-gap"],
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:20.500Z",
            "#EXT-X-GAP\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:20.500Z",
        ),
        // The parts of 19 leave before those of 18.
        one(&["6.2.2-part-order", "6.2.1-parts-append"], 104, video_playlist, |event| {
            edit_text(event, |text| without(&text, "#EXT-X-PART:DURATION=0.20000,URI=\"19.", "#EXTINF"));
        }),
        fault(&["6.2.2-part-age", "6.2.1-parts-append"], |events| {
            each_playlist(events, VIDEO, |text, _| {
                for msn in 14..17 {
                    let parts: String = (0..5)
                        .map(|n| {
                            let flag = if n == 0 { ",INDEPENDENT=YES" } else { "" };
                            format!("#EXT-X-PART:DURATION=0.20000,URI=\"{msn}.{n}.m4s\"{flag}\n")
                        })
                        .collect();
                    if !text.contains(&format!("\"{msn}.0.m4s\""))
                        && text.contains("\"20.0.m4s\"")
                        && text.contains("\"17.0.m4s\"")
                    {
                        *text = text.replace(
                            &format!("#EXTINF:1.00000,\n{msn}.m4s"),
                            &format!("{parts}#EXTINF:1.00000,\n{msn}.m4s"),
                        );
                    }
                }
            });
        }),
    ]
}

fn reloads() -> Vec<Planted> {
    vec![
        fault(&["4.4.3.4-endlist"], |events| {
            let Some(Event::Playlist(_, _, ended)) =
                events.iter().rev().find(|event| matches!(event, Event::Playlist(VIDEO, ..))).cloned()
            else {
                unreachable!()
            };
            let mut again = ended;
            (again.asked, again.began, again.done) =
                (again.done + ms(10), again.done + ms(20), again.done + ms(20));
            let mut event = Event::Playlist(VIDEO, Ask::default(), again);
            edit_text(&mut event, |text| {
                text.replace("#EXT-X-ENDLIST\n", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"30.0.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../a/index.m3u8\",LAST-MSN=29,LAST-PART=4\n")
            });
            events.push(event);
        }),
        one(&["6.2.1-append"], 104, video_playlist, |event| {
            edit_text(event, |text| text.replace("\n17.m4s", "\nx17.m4s"));
        }),
        one(&["6.2.1-append"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("\n17.m4s", "\nx17.m4s"));
        }),
        one(&["6.2.1-parts-append", "4.4.5.3-hint-match"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("\"20.2.m4s\"", "\"x20.2.m4s\""));
        }),
        one(&["6.2.1-head"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("#EXT-X-INDEPENDENT-SEGMENTS\n", ""));
        }),
        one(&["6.2.1-target-constant"], 103, video_playlist, |event| {
            edit_text(event, |text| {
                text.replace("TARGETDURATION:1", "TARGETDURATION:2")
                    .replace("HOLD-BACK=3.0", "HOLD-BACK=6.0")
                    .replace("UNTIL=6.0", "UNTIL=12.0")
            });
        })
        .also("6.2.1-head"),
        one(&["6.2.1-daterange-kept"], 75, video_playlist, |event| {
            edit_text(event, |text| without_lines(&text, "#EXT-X-DATERANGE"));
        }),
        fault(&["6.2.1-segment-cadence", "6.2.1-part-cadence"], |events| delay(events, 103, 700)),
        fault(&["6.2.1-part-cadence"], |events| delay(events, 103, 120)),
        // A segment that had left comes back.
        one(&["6.2.2-media-sequence"], 116, video_playlist, |event| {
            let back = "MAP:URI=\"init.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:10.500Z\n#EXTINF:1.00000,\n10.m4s\n";
            edit_text(event, |text| {
                text.replace("MEDIA-SEQUENCE:11", "MEDIA-SEQUENCE:10").replace("MAP:URI=\"init.mp4\"\n", back)
            });
        }),
        one(&["6.2.2-discontinuity-sequence"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1"));
        }),
        fault(&["6.2.2-window"], |events| {
            // From the 20th segment on the window has two segments.
            each_playlist(events, VIDEO, |text, _| *text = shorten(text, 20, 2));
            events.retain(|event| !matches!(event, Event::Playlist(VIDEO, Ask { skip: Some(_), .. }, _)));
        }),
        one(&["4.4.5.3-hint-match"], 103, video_playlist, |event| {
            edit_text(event, |text| {
                text.replace("HINT:TYPE=PART,URI=\"20.3.m4s\"", "HINT:TYPE=PART,URI=\"20.x.m4s\"")
            });
        }),
        one(&["4.4.5.4-report-uri", "B.1-reports"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("../a/index.m3u8", "../b/index.m3u8"));
        }),
        one(&["4.4.5.4-report-uri", "B.1-reports"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("../a/index.m3u8", "index.m3u8"));
        }),
        one(&["4.4.5.4-report-true"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("LAST-MSN=20,LAST-PART=2", "LAST-MSN=20,LAST-PART=3"));
        }),
        one(&["4.4.5.4-report-fresh"], 103, video_playlist, |event| {
            edit_text(event, |text| text.replace("LAST-MSN=20,LAST-PART=2", "LAST-MSN=19,LAST-PART=4"));
        }),
    ]
}

/// Lets everything from the video's `n`th playlist on, in all renditions, come later.
fn delay(events: &mut [Event], n: usize, by_ms: u64) {
    let from = stream::at(n as u64) + ms(50);
    for event in events.iter_mut().skip(1) {
        let held = matches!(event, Event::Playlist(..) | Event::Hint(..));
        if let Event::Encoded(_, _, plain, _) = event
            && plain.done > from
        {
            plain.done += ms(by_ms);
        }
        let answer = answer_of(event);
        if answer.done > from {
            let begins_before = held && answer.asked <= from;
            answer.asked += if begins_before { ms(0) } else { ms(by_ms) };
            answer.began += ms(by_ms);
            answer.done += ms(by_ms);
        }
    }
}

/// From segment `from` on only the last `keep` complete segments stay.
fn shorten(text: &str, from: u64, keep: usize) -> String {
    let last: Vec<u64> = text.lines().filter_map(|line| line.strip_suffix(".m4s")?.parse().ok()).collect();
    if last.last().is_none_or(|last| *last < from) || text.contains("#EXT-X-SKIP") {
        return text.to_owned();
    }
    let first = last[last.len() - keep];
    let head = text.split("#EXT-X-PROGRAM-DATE-TIME").next().unwrap();
    let head = head.replace("#EXT-X-DISCONTINUITY\n", "");
    let date = format!("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{first}.500Z");
    let rest = &text[text.find(&date).unwrap()..];
    let (before, after) = head.split_once("#EXT-X-MEDIA-SEQUENCE:").unwrap();
    let after = after.split_once('\n').unwrap().1.split_once('\n').unwrap().1;
    let rest = without(rest, "#EXT-X-DATERANGE", "#EXT-X-PRELOAD");
    format!("{before}#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n{after}{rest}")
}

impl Planted {
    fn also(self, rule: &'static str) -> Self {
        let rules: Vec<&'static str> = self.rules.iter().copied().chain([rule]).collect();
        Self { rules: rules.leak(), plant: self.plant }
    }
}

fn variants() -> Vec<Planted> {
    vec![
        multivariant(
            &["4.4.6.1.1-group"],
            "#EXT-X-STREAM-INF",
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",CHANNELS=\"2\",URI=\"a/index.m3u8\"\n#EXT-X-STREAM-INF",
        ),
        multivariant(&["4.4.6.1-channels"], ",CHANNELS=\"2\"", ""),
        multivariant(&["4.4.6.2-uri"], "v/index.m3u8\n", "v/index.m3u8\nx/index.m3u8\n"),
        multivariant(&["4.4.6.2-group"], "AUDIO=\"audio\"", "AUDIO=\"sound\""),
        multivariant(&["4.4.6.2-bandwidth"], "BANDWIDTH=40000,AVERAGE-BANDWIDTH=30000", "BANDWIDTH=3000"),
        multivariant(&["4.4.6.2-codecs"], "CODECS=\"avc1.42c01e,mp4a.40.2\",", ""),
        multivariant(&["4.4.6.2-resolution"], "RESOLUTION=320x180", "RESOLUTION=320x240"),
        multivariant(&["4.4.6.2-frame-rate"], "FRAME-RATE=10.000", "FRAME-RATE=30.000"),
        multivariant(&["6.2.4-codecs"], "avc1.42c01e,mp4a.40.2", "avc1.42c01f,mp4a.40.2"),
        multivariant(&["6.2.4-codecs"], "avc1.42c01e,mp4a.40.2", "avc1.42c01e"),
        fault(&["6.2.4-target"], |events| {
            each_playlist(events, AUDIO, |text, _| {
                *text = text.replace("TARGETDURATION:1", "TARGETDURATION:2");
            });
            // With all that follows from a target of 2 s, in all renditions.
            for at in [AUDIO, VIDEO, I_FRAMES] {
                each_playlist(events, at, |text, _| {
                    *text = text.replace("HOLD-BACK=3.0", "HOLD-BACK=6.0").replace("UNTIL=6.0", "UNTIL=12.0");
                    let _same = text.len();
                });
            }
            events.retain(|event| !matches!(event, Event::Playlist(_, Ask { skip: Some(_), .. }, _)));
        }),
        fault(&["6.2.4-server-control"], |events| {
            each_playlist(events, AUDIO, |text, _| *text = text.replace("HOLD-BACK=3.0", "HOLD-BACK=4.0"));
        }),
        fault(&["6.2.4-discontinuity"], |events| {
            each_playlist(events, AUDIO, |text, _| {
                *text = text
                    .replace("DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:2")
                    .replace("DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1");
            });
        }),
        fault(&["6.2.4-dates"], |events| {
            each_playlist(events, AUDIO, |text, _| *text = text.replace("2026-01-01T00:", "2026-01-01T01:"));
        })
        .also("6.2.4-dateranges"),
        fault(&["6.2.4-dateranges"], |events| {
            each_playlist(events, AUDIO, |text, _| *text = text.replace("0xFC30", "0xFC31"));
        }),
    ]
}

fn media() -> Vec<Planted> {
    vec![
        one(
            &["3.1.2-fmp4"],
            100,
            |event| matches!(event, Event::Hint(VIDEO, ..)),
            |event| answer_of(event).body = vec![0; 20].into(),
        ),
        fault(&["3.2-part-samples"], |events| {
            each_piece(events, VIDEO, 20, |piece, answer| {
                if piece == Piece::Segment(20) {
                    let mut bytes: Vec<u8> = stream::segment(VIDEO, 20);
                    let tail = bytes.len() - stream::part(VIDEO, 20, 4).len();
                    bytes.truncate(tail);
                    bytes.extend(stream::fragment(21_300, &[(200, false, stream::picture(false, 1))]));
                    answer.body = bytes.into();
                }
            });
        }),
        fault(&["our-part-bytes"], |events| {
            each_piece(events, VIDEO, 20, |piece, answer| {
                if piece == Piece::Segment(20) {
                    let free = [0, 0, 0, 8, b'f', b'r', b'e', b'e'];
                    answer.body = [&answer.body[..], &free].concat().into();
                }
            });
        }),
        fault(&["4.4.2.1-independent-segments", "4.4.4.9-independent"], |events| {
            each_piece(events, VIDEO, 20, |_, answer| {
                answer.body = replaced(&answer.body, 0x65, 0x41);
            });
        }),
        one(
            &["4.4.3.6-i-frame"],
            20,
            |event| matches!(event, Event::Media(I_FRAMES, ..)),
            |event| {
                let answer = answer_of(event);
                answer.body = replaced(&answer.body, 0x65, 0x41);
            },
        ),
        text(&["4.4.4.1-extinf", "3.2-part-sum"], "#EXTINF:1.00000,\n20.m4s", "#EXTINF:1.01000,\n20.m4s"),
        one(
            &["6.2.1-available"],
            20,
            |event| matches!(event, Event::Media(VIDEO, Piece::Segment(_), _)),
            |event| status(event, 404),
        ),
        fault(&["6.2.1-timeline"], |events| {
            let late = |rendition: usize, msn: u64, index: u64| {
                let later = stream::part(rendition, msn, index);
                shifted(&later, 7)
            };
            each_piece(events, VIDEO, 20, move |piece, answer| {
                answer.body = match piece {
                    Piece::Part(msn, index) => late(VIDEO, msn, index).into(),
                    Piece::Segment(msn) => {
                        (0..5).flat_map(|index| late(VIDEO, msn, index)).collect::<Vec<_>>().into()
                    }
                };
            });
        }),
        fault(&["6.2.1-format", "4.4.6.2-resolution"], other_map),
        one(
            &["6.2.2-removed-segment"],
            0,
            |event| matches!(event, Event::Removed(VIDEO, Piece::Segment(_), _)),
            |event| status(event, 404),
        ),
        one(
            &["6.2.2-removed-part"],
            0,
            |event| matches!(event, Event::Removed(VIDEO, Piece::Part(..), _)),
            |event| status(event, 404),
        ),
        fault(&["our-sync-flags"], |events| {
            each_piece(events, VIDEO, 20, |_, answer| {
                let mut bytes = answer.body.to_vec();
                unmark(&mut bytes);
                answer.body = bytes.into();
            });
        }),
        fault(&["our-needless-discontinuity"], |events| {
            // The media go on without the jump; the dates with them.
            for at in [AUDIO, VIDEO, I_FRAMES] {
                for msn in JUMP..30 {
                    let scale = if at == AUDIO { 48 } else { 1 };
                    each_piece(events, at, msn, |_, answer| {
                        answer.body = shifted(&answer.body, -500 * scale).into();
                    });
                }
                each_playlist(events, at, |text, _| {
                    for msn in JUMP..30 {
                        *text =
                            text.replace(&format!("00:00:{msn:02}.500Z"), &format!("00:00:{msn:02}.000Z"));
                    }
                });
            }
        }),
        fault(&["our-aligned"], |events| {
            each_playlist(events, AUDIO, |text, _| {
                // Numbers one more than elsewhere; all that names them goes along.
                let (before, after) = text.split_once("MEDIA-SEQUENCE:").unwrap();
                let (number, after) = after.split_once('\n').unwrap();
                *text = format!("{before}MEDIA-SEQUENCE:{}\n{after}", number.parse::<u64>().unwrap() + 1);
            });
            each_playlist(events, VIDEO, |text, _| {
                for msn in (0..31).rev() {
                    *text = text.replace(&format!("LAST-MSN={msn},"), &format!("LAST-MSN={},", msn + 1));
                }
            });
            for event in events.iter_mut() {
                match event {
                    Event::Playlist(AUDIO, Ask { msn: Some(msn), .. }, _) => *msn += 1,
                    Event::Media(AUDIO, Piece::Segment(msn) | Piece::Part(msn, _), _) => *msn += 1,
                    _ => {}
                }
            }
        }),
    ]
}

/// Every picture's header byte `from` becomes `to`: it stands behind the four bytes of its length, which are 9.
fn replaced(bytes: &[u8], from: u8, to: u8) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    for at in 4..bytes.len() {
        if bytes[at - 4..at] == [0, 0, 0, 9] && bytes[at] == from {
            bytes[at] = to;
        }
    }
    // What boxes say goes along, so that only the promise is broken.
    unmark(&mut bytes);
    bytes.into()
}

/// No sample is marked as a sync sample any more: the flags stand behind a picture's size, which is 13.
fn unmark(bytes: &mut [u8]) {
    let marked = [0, 0, 0, 13, 2, 0, 0, 0];
    while let Some(at) = bytes.windows(8).position(|eight| eight == marked) {
        bytes[at + 4..at + 8].copy_from_slice(&[1, 1, 0, 0]);
    }
}

/// All decode times moved by `ticks`.
fn shifted(bytes: &[u8], ticks: i64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(next) = bytes[at..].windows(4).position(|four| four == b"tfdt") {
        at += next + 8;
        let time = i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) + ticks;
        bytes[at..at + 8].copy_from_slice(&time.to_be_bytes());
    }
    bytes
}

/// From segment 20 on the video has another map, of another size, without a discontinuity.
fn other_map(events: &mut Vec<Event>) {
    each_playlist(events, VIDEO, |text, _| {
        let date = "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:20.500Z";
        *text = text.replace(date, &format!("#EXT-X-MAP:URI=\"other.mp4\"\n{date}"));
        // Where 20 is no longer in the playlist the other map is the first one's.
        let numbers: Vec<u64> =
            text.lines().filter_map(|line| line.strip_suffix(".m4s")?.parse().ok()).collect();
        if numbers.first().is_some_and(|first| *first > 20) {
            *text = text.replace("#EXT-X-MAP:URI=\"init.mp4\"", "#EXT-X-MAP:URI=\"other.mp4\"");
        }
    });
    let at = events.iter().position(|event| matches!(event, Event::Map(VIDEO, ..))).unwrap();
    let Event::Map(_, _, mut answer) = events[at].clone() else { unreachable!() };
    let mut bytes = answer.body.to_vec();
    // One macroblock less of width: 000010100 becomes 000010011 in the parameter set; its place is found by its neighbours.
    let sps = bytes.windows(4).position(|four| four == [0x67, 0x42, 0xc0, 0x1e]).unwrap();
    let bits: String = bytes[sps + 4..sps + 11].iter().map(|byte| format!("{byte:08b}")).collect();
    let changed = bits.replacen("000010100", "000010011", 1);
    for (n, byte) in changed.as_bytes().chunks(8).enumerate() {
        bytes[sps + 4 + n] = byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0'));
    }
    answer.body = bytes.into();
    events.insert(at, Event::Map(VIDEO, "other.mp4".to_owned(), answer));
}

fn directives() -> Vec<Planted> {
    vec![
        one(&["6.2.5.1-delta"], 3, video_delta, |event| {
            let Event::Playlist(_, ask, _) = event else { unreachable!() };
            ask.skip = None;
        }),
        one(&["6.2.5.1-delta"], 103, video_playlist, |event| {
            let Event::Playlist(_, ask, _) = event else { unreachable!() };
            ask.skip = Some(hls_check::SkipAsk::Segments);
        }),
        one(&["6.2.5.1-boundary"], 8, video_delta, |event| {
            edit_text(event, |text| {
                let (before, after) = text.split_once("SKIPPED-SEGMENTS=6\n").unwrap();
                let rest = after.split_once(".m4s\n").unwrap().1;
                let rest = if after.starts_with("#EXT-X-PROGRAM") { rest } else { after };
                format!("{before}SKIPPED-SEGMENTS=7\n{rest}")
            });
        }),
        // It skips from a place that was never listed.
        one(&["6.2.5.1-merge"], 8, video_delta, |event| {
            edit_text(event, |text| text.replace("SKIPPED-SEGMENTS=6", "SKIPPED-SEGMENTS=60"));
        }),
        one(&["6.2.5.1-equal", "6.2.1-append"], 8, video_delta, |event| {
            edit_text(event, |text| text.replacen("#EXTINF:1.00000,", "#EXTINF:1.00010,", 1));
        }),
        one(&["6.2.5.2-answer"], 100, video_playlist, |event| status(event, 404)),
        one(&["6.2.5.2-early", "4.4.5.4-report-fresh"], 103, video_playlist, |event| {
            let Event::Playlist(_, ask, _) = event else { unreachable!() };
            ask.part = Some(4);
        })
        .only("6.2.5.2-early"),
        one(&["6.2.5.2-late"], 104, video_playlist, |event| {
            let answer = answer_of(event);
            answer.began += ms(400);
            answer.done += ms(400);
        })
        .also("6.2.1-part-cadence"),
        one(
            &["6.2.5.2-part-alone"],
            0,
            |event| matches!(event, Event::Nonsense(VIDEO, Nonsense::PartAlone, ..)),
            |event| status(event, 200),
        ),
        one(
            &["6.2.5.2-too-far"],
            0,
            |event| matches!(event, Event::Nonsense(VIDEO, Nonsense::TooFar, ..)),
            |event| answer_of(event).done += ms(900),
        ),
        one(
            &["our-bad-directive"],
            0,
            |event| matches!(event, Event::Nonsense(VIDEO, Nonsense::NoNumber, ..)),
            |event| status(event, 200),
        ),
        one(
            &["6.2.6-hint"],
            100,
            |event| matches!(event, Event::Hint(VIDEO, ..)),
            |event| status(event, 404),
        ),
        one(
            &["6.2.6-hint"],
            100,
            |event| matches!(event, Event::Hint(VIDEO, ..)),
            |event| {
                let answer = answer_of(event);
                answer.began += ms(400);
                answer.done += ms(400);
            },
        ),
        one(
            &["6.2.6-hint-whole"],
            100,
            |event| matches!(event, Event::Hint(VIDEO, ..)),
            |event| {
                let answer = answer_of(event);
                answer.began = answer.began.saturating_sub(ms(180));
            },
        ),
        one(
            &["6.2.1-encodings"],
            0,
            |event| matches!(event, Event::Encoded(VIDEO, ..)),
            |event| {
                answer_of(event).body = "#EXTM3U\n".into();
            },
        ),
    ]
}

impl Planted {
    fn only(self, rule: &'static str) -> Self {
        Self { rules: vec![rule].leak(), plant: self.plant }
    }
}

fn caches() -> Vec<Planted> {
    let cache = |event: &mut Event, value: &str| {
        let headers = &mut answer_of(event).headers;
        headers.iter_mut().find(|(name, _)| name == "cache-control").unwrap().1 = value.to_owned();
    };
    vec![
        one(&["B.1-cache-blocking"], 20, video_playlist, move |event| cache(event, "no-cache")),
        one(&["B.1-cache-playlist"], 151, video_playlist, move |event| cache(event, "max-age=60")),
        one(
            &["B.1-cache-media"],
            20,
            |event| matches!(event, Event::Media(VIDEO, ..)),
            move |event| cache(event, "max-age=2"),
        ),
    ]
}
