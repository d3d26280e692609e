//! Each rule fires when the stream breaks it, and no other rule does.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

mod faults;
mod stream;

use std::collections::BTreeSet;

use hls_check::{Answer, Ask, Checker, Event, Options, Piece, RULES, Report};
use reqwest::Url;

/// Breaks what a conformant stream has.
pub(crate) type Plant = Box<dyn Fn(&mut Vec<Event>)>;

/// A planted fault: the rules that it breaks, and what it does to the stream.
pub(crate) struct Planted {
    pub(crate) rules: &'static [&'static str],
    pub(crate) plant: Plant,
}

fn check(events: Vec<Event>) -> Report {
    let options = Options { tolerance: stream::ms(50) };
    let mut checker = Checker::new(Url::parse(stream::URL).unwrap(), options);
    for event in events {
        checker.handle(event);
    }
    checker.finish()
}

#[test]
fn the_made_up_stream_keeps_every_rule() {
    let report = check(stream::events());
    assert!(report.is_clean(), "{}", report.text());
    let counts = &report.counts;
    assert_eq!((counts.segments, counts.parts), (90, 300), "{}", report.text());
    assert_eq!(counts.segments_compared, 60, "every segment is compared with its parts");
    assert!(counts.deltas_compared >= 20, "{}", report.text());
    assert!(counts.reports >= 290, "{}", report.text());
}

#[test]
fn every_planted_fault_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for (index, Planted { rules, plant }) in faults::all().into_iter().enumerate() {
        let clean = stream::events();
        let mut events = clean.clone();
        let planted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| plant(&mut events)));
        if planted.is_err() {
            wrong.push(format!("fault {index} ({rules:?}) cannot be planted"));
            continue;
        }
        if events == clean {
            wrong.push(format!("fault {index} ({rules:?}) changes nothing"));
            continue;
        }
        let report = check(events);
        let found: BTreeSet<_> = report.violations.iter().map(|one| one.rule).collect();
        if found != rules.iter().copied().collect() {
            wrong.push(format!("fault {index} breaks {rules:?}, found:\n{}", report.text()));
        }
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_rule_has_a_fault_that_breaks_it_first_of_all() {
    let planted: BTreeSet<_> = faults::all().iter().filter_map(|one| one.rules.first().copied()).collect();
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(rules.len(), RULES.len(), "an id stands twice");
    let missing: Vec<_> = rules.difference(&planted).collect();
    let unknown: Vec<_> = planted.difference(&rules).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "without a fault: {missing:?}; unknown: {unknown:?}");
}

#[test]
fn nothing_makes_it_panic() {
    // Every playlist cut off and every file torn, at places of all kinds.
    for cut in 1..40 {
        let mut events = stream::events();
        for (n, event) in events.iter_mut().enumerate() {
            let answer = answer_of(event);
            if n % 3 == 0 {
                let keep = answer.body.len() * cut / 40;
                answer.body = answer.body.slice(..keep);
            }
        }
        assert!(!check(events).is_clean());
    }
}

pub(crate) fn answer_of(event: &mut Event) -> &mut Answer {
    match event {
        Event::Multivariant(answer)
        | Event::Playlist(_, _, answer)
        | Event::Map(_, _, answer)
        | Event::Media(_, _, answer)
        | Event::Hint(_, _, answer)
        | Event::Removed(_, _, answer)
        | Event::Nonsense(_, _, _, answer)
        | Event::Encoded(_, _, _, answer) => answer,
    }
}

/// Rewrites the text of every media playlist of `rendition`.
pub(crate) fn each_playlist(events: &mut [Event], rendition: usize, edit: impl Fn(&mut String, Ask)) {
    for event in events {
        if let Event::Playlist(at, ask, answer) = event
            && *at == rendition
        {
            let mut text = String::from_utf8(answer.body.to_vec()).unwrap();
            edit(&mut text, *ask);
            answer.body = text.into();
        }
    }
}

/// Rewrites the bytes of every part (hinted or not) and segment of `rendition` that belongs to segment `msn`.
pub(crate) fn each_piece(
    events: &mut [Event],
    rendition: usize,
    msn: u64,
    edit: impl Fn(Piece, &mut Answer),
) {
    for event in events {
        match event {
            Event::Media(at, piece, answer) if *at == rendition => {
                let (Piece::Segment(of) | Piece::Part(of, _)) = *piece;
                if of == msn {
                    edit(*piece, answer);
                }
            }
            Event::Hint(at, uri, answer) if *at == rendition => {
                let (of, index) = uri.strip_suffix(".m4s").unwrap().split_once('.').unwrap();
                if of == msn.to_string() {
                    edit(Piece::Part(msn, index.parse().unwrap()), answer);
                }
            }
            _ => {}
        }
    }
}
