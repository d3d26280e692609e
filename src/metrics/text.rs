//! The Prometheus text format 0.0.4 out of OpenMetrics 1.0. Pure.
//!
//! They differ in three things: a counter's family is called as its samples are, with `_total`; there are no units; there is no
//! end mark.

/// `openmetrics` in the older format, which every scraper reads.
pub(crate) fn prometheus_text(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len() + 1024);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        // HELP stands before TYPE, which says whether the name grows.
        let counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let of_counter =
            counter(line) || line.starts_with("# HELP ") && lines.peek().is_some_and(|next| counter(next));
        if of_counter {
            let mut words = line.splitn(4, ' ');
            for (at, word) in words.by_ref().enumerate() {
                out.push_str(if at == 0 { "" } else { " " });
                out.push_str(word);
                out.push_str(if at == 2 { "_total" } else { "" });
            }
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::prometheus_text;

    #[test]
    fn families_of_counters_get_the_name_of_their_samples() {
        let openmetrics = "# HELP a_bytes What a counter counts.\n# TYPE a_bytes counter\na_bytes_total{x=\"# EOF\"} 1\n\
            # HELP b Of a counter, says a gauge.\n# TYPE b gauge\n# UNIT b seconds\nb 2.5\n# EOF\n";
        let older = "# HELP a_bytes_total What a counter counts.\n# TYPE a_bytes_total counter\na_bytes_total{x=\"# EOF\"} 1\n\
            # HELP b Of a counter, says a gauge.\n# TYPE b gauge\nb 2.5\n";
        assert_eq!(prometheus_text(openmetrics), older);
    }
}
