//! Finding an entry by a name that was written in another way, and naming what is near when there is none.

use super::UnknownName;

/// Endings that say how a model was tuned, not how it is shaped.
const TUNINGS: [&str; 6] = ["instruct", "chat", "it", "base", "hf", "bf16"];

/// Who makes it: drivers and benchmarks put it before a device's name.
const MAKERS: [&str; 7] = ["nvidia", "amd", "intel", "google", "instinct", "tesla", "geforce"];

/// A name without what does not matter: organisation, case, separators, a leading `Meta`, makers, tuning words.
fn key(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let words = last
        .split(['-', '_', ' ', '(', ')'])
        .filter(|word| !word.is_empty() && *word != "meta" && !TUNINGS.contains(word) && !MAKERS.contains(word));
    words.flat_map(str::chars).filter(|c| *c != '.').collect()
}

/// Levenshtein distance of two short strings.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The entry with this name or alias, exactly as written or else by what matters of it.
pub fn find<'a, T>(
    what: &'static str,
    entries: &'a [T],
    name: &str,
    names: impl Fn(&T) -> (&str, &[String]),
) -> Result<&'a T, UnknownName> {
    let matches = |entry: &T, same: &dyn Fn(&str) -> bool| {
        let (first, others) = names(entry);
        same(first) || others.iter().any(|other| same(other))
    };
    let wanted = key(name);
    let exact = entries.iter().find(|entry| matches(entry, &|other| other == name));
    if let Some(found) = exact.or_else(|| entries.iter().find(|entry| matches(entry, &|other| key(other) == wanted))) {
        return Ok(found);
    }
    // Near: few edits for its length, or one contains the other.
    let mut near: Vec<(usize, &str)> = entries
        .iter()
        .filter_map(|entry| {
            let own = names(entry).0;
            let own_key = key(own);
            let edits = distance(&wanted, &own_key);
            let contained = wanted.len() >= 3 && (own_key.contains(&wanted) || wanted.contains(&own_key));
            (edits <= 2 + wanted.len() / 4 || contained).then_some((edits, own))
        })
        .collect();
    crate::order::sort_by(&mut near, Ord::cmp);
    Err(UnknownName { what, name: name.to_owned(), near: near.into_iter().take(4).map(|(_, own)| own.to_owned()).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_of_known_pairs() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn keys_drop_what_does_not_matter() {
        assert_eq!(key("meta-llama/Meta-Llama-3.1-8B-Instruct"), key("Llama-3.1-8B"));
        assert_ne!(key("Llama-3.1-8B"), key("Llama-3-8B"));
        assert_eq!(key("Qwen/Qwen2.5-7B-Instruct"), "qwen257b");
        assert_eq!(key("NVIDIA A100-SXM4-80GB"), key("A100-SXM4-80GB"));
    }
}
