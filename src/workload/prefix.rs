//! Shared beginnings of prompts: a profile's own prefix and the named prefix patterns of the original project.
//!
//! Only identities and lengths: no token ids are made. Two prompts share a prefix when they have the same chain of parts from the
//! very start.

use crate::config::Diagnostic;
use crate::config::schema::{PrefixKind, PrefixPattern};
use crate::workload::request::{Segment, SegmentId};
use crate::workload::sampler::{MAX_TOKENS, cumulative_weights};

/// Built-in prefixes and their lengths, tokens: names and lengths of the original project.
pub const BUILT_IN: [(PrefixKind, &str, u32); 11] = [
    (PrefixKind::System, "helpful_assistant", 50),
    (PrefixKind::System, "code_assistant", 50),
    (PrefixKind::System, "translation", 40),
    (PrefixKind::System, "summarization", 60),
    (PrefixKind::System, "creative_writing", 80),
    (PrefixKind::FewShot, "classification_3shot", 300),
    (PrefixKind::FewShot, "qa_5shot", 500),
    (PrefixKind::FewShot, "translation_2shot", 200),
    (PrefixKind::Instruction, "analyze_data", 100),
    (PrefixKind::Instruction, "write_code", 150),
    (PrefixKind::Instruction, "explain_concept", 120),
];

/// A chain of segments that prompts begin with.
pub(crate) type Chain = Box<[Segment]>;

/// The leading segments of a chain that fit whole into a prompt, and their length in tokens. A segment stands for one exact run of
/// tokens, so a part of one cannot be named.
pub(crate) fn fitting(chain: &[Segment], prompt_tokens: u32) -> (&[Segment], u32) {
    let mut tokens = 0;
    for (i, segment) in chain.iter().enumerate() {
        if segment.tokens > prompt_tokens - tokens {
            return (&chain[..i], tokens);
        }
        tokens += segment.tokens;
    }
    (chain, tokens)
}

/// What a part's text is: the prefix of one profile, or a pattern's part by kind, name and length.
#[derive(Clone, PartialEq)]
enum Text {
    Profile(usize),
    Part(PrefixKind, String, u32),
}

/// The segments named for shared beginnings, numbered from 0.
#[derive(Default)]
pub(crate) struct Prefixes {
    /// Parent, text; the position is the segment's id.
    named: Vec<(Option<SegmentId>, Text)>,
}

impl Prefixes {
    /// Segments named so far.
    pub fn count(&self) -> u32 {
        self.named.len() as u32
    }

    /// The chains of one profile, one for each pattern (one in all without patterns).
    pub fn chains(&mut self, profile: usize, own_tokens: u32, patterns: &[Pattern]) -> Box<[Chain]> {
        let own: Vec<(Text, u32)> = (own_tokens > 0).then_some((Text::Profile(profile), own_tokens)).into_iter().collect();
        if patterns.is_empty() {
            return Box::new([self.chain(&own)]);
        }
        let with = |pattern: &Pattern| {
            let parts = pattern.parts.iter().map(|(kind, name, tokens)| (Text::Part(*kind, name.clone(), *tokens), *tokens));
            self.chain(&own.iter().cloned().chain(parts).collect::<Vec<_>>())
        };
        patterns.iter().map(with).collect()
    }

    fn chain(&mut self, parts: &[(Text, u32)]) -> Chain {
        let mut parent = None;
        let mut segments = Vec::with_capacity(parts.len());
        for (text, tokens) in parts {
            let known = self.named.iter().position(|(before, name)| *before == parent && name == text);
            let position = known.unwrap_or(self.named.len());
            if known.is_none() {
                self.named.push((parent, text.clone()));
            }
            let id = SegmentId(position as u32);
            segments.push(Segment { id, tokens: *tokens });
            parent = Some(id);
        }
        segments.into()
    }
}

/// A prefix pattern made ready: its parts in order, none for `random`.
pub(crate) struct Pattern {
    parts: Vec<(PrefixKind, String, u32)>,
}

/// Resolves the patterns and their cumulative weights.
pub(crate) fn resolve(patterns: &[PrefixPattern], path: &str, errors: &mut Vec<Diagnostic>) -> (Vec<Pattern>, Box<[f64]>) {
    let mut resolved = Vec::with_capacity(patterns.len());
    for (i, pattern) in patterns.iter().enumerate() {
        let mut parts = Vec::new();
        collect(pattern, &format!("{path}[{i}]"), true, &mut parts, errors);
        resolved.push(Pattern { parts });
    }
    let weights: Vec<f64> = patterns.iter().map(|pattern| pattern.weight.unwrap_or(1.0)).collect();
    let cumulative = cumulative_weights(&weights).unwrap_or_else(|message| {
        errors.push(Diagnostic::error(path, message, "give at least one pattern a weight above zero"));
        Box::default()
    });
    (resolved, cumulative)
}

fn collect(pattern: &PrefixPattern, path: &str, outermost: bool, parts: &mut Vec<(PrefixKind, String, u32)>, errors: &mut Vec<Diagnostic>) {
    match pattern.kind {
        PrefixKind::Random => {}
        PrefixKind::Mixed if outermost => {
            let components = pattern.components.as_deref().unwrap_or_default();
            if components.is_empty() {
                errors.push(Diagnostic::error(path, "a mixed prefix has no components", "list the parts under components"));
            }
            for (i, component) in components.iter().enumerate() {
                collect(component, &format!("{path}.components[{i}]"), false, parts, errors);
            }
        }
        PrefixKind::Mixed => errors.push(Diagnostic::error(path, "a mixed prefix inside a mixed prefix", "list all parts in one list")),
        kind => {
            let name = pattern.name.as_deref().unwrap_or_default();
            let built_in = BUILT_IN.iter().find(|(of, called, _)| *of == kind && *called == name).map(|(_, _, tokens)| *tokens);
            let tokens = match pattern.tokens {
                Some(tokens) => u32::try_from(tokens).ok().filter(|&tokens| tokens <= MAX_TOKENS),
                None => built_in,
            };
            match tokens {
                Some(0) => {}
                Some(tokens) => parts.push((kind, name.to_owned(), tokens)),
                None if pattern.tokens.is_some() => {
                    errors.push(Diagnostic::error(format!("{path}.tokens"), format!("a prefix of more than {MAX_TOKENS} tokens"), ""));
                }
                None => {
                    let known: Vec<&str> = BUILT_IN.iter().filter(|(of, ..)| *of == kind).map(|(_, called, _)| *called).collect();
                    let message = format!("no built-in prefix is called {name:?}");
                    let hint = format!("use one of {}, or state its length with tokens", known.join(", "));
                    errors.push(Diagnostic::error(format!("{path}.name"), message, hint));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: PrefixKind, name: &str) -> PrefixPattern {
        PrefixPattern { kind, name: Some(name.to_owned()), ..PrefixPattern::default() }
    }

    #[test]
    fn equal_beginnings_have_equal_segments() {
        let system = named(PrefixKind::System, "translation");
        let mixed = PrefixPattern {
            kind: PrefixKind::Mixed,
            components: Some(vec![system.clone(), named(PrefixKind::FewShot, "qa_5shot")]),
            ..PrefixPattern::default()
        };
        let mut errors = Vec::new();
        let (patterns, weights) = resolve(&[system, mixed, PrefixPattern::default()], "p", &mut errors);
        assert!(errors.is_empty() && weights.len() == 3);
        let mut prefixes = Prefixes::default();
        let plain = prefixes.chains(0, 0, &patterns);
        let lengths = |chain: &Chain| chain.iter().map(|segment| segment.tokens).collect::<Vec<_>>();
        assert_eq!((lengths(&plain[0]), lengths(&plain[1]), lengths(&plain[2])), (vec![40], vec![40, 500], vec![]));
        assert_eq!(plain[0][0].id, plain[1][0].id);
        // Another profile without a prefix of its own shares them; one with a prefix shares nothing.
        assert_eq!(prefixes.chains(1, 0, &patterns), plain);
        let apart = prefixes.chains(2, 100, &patterns);
        assert_eq!(lengths(&apart[1]), [100, 40, 500]);
        assert_ne!(apart[0][1].id, plain[0][0].id);
        assert_eq!(prefixes.count(), 5);
    }

    #[test]
    fn only_whole_segments_fit() {
        let chain = [Segment { id: SegmentId(0), tokens: 40 }, Segment { id: SegmentId(1), tokens: 500 }];
        for (prompt, segments, tokens) in [(39, 0, 0), (40, 1, 40), (539, 1, 40), (540, 2, 540), (9000, 2, 540)] {
            let (leading, covered) = fitting(&chain, prompt);
            assert_eq!((leading.len(), covered), (segments, tokens), "{prompt}");
        }
    }

    #[test]
    fn unknown_names_are_errors_unless_a_length_is_given() {
        let mut errors = Vec::new();
        let unknown = named(PrefixKind::Instruction, "qa_5shot");
        let (patterns, _) = resolve(&[unknown.clone(), PrefixPattern { tokens: Some(77), ..unknown }], "p", &mut errors);
        assert_eq!(patterns[1].parts[0].2, 77);
        assert!(errors.len() == 1 && errors[0].path == "p[0].name" && errors[0].hint.contains("write_code"), "{errors:?}");
    }
}
