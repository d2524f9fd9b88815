//! JSON into nodes. Comments and a comma before a closing bracket are allowed, since people keep them in configuration files;
//! nothing else beyond the standard is.

use std::collections::BTreeSet;

use super::node::{Entry, MAX_DEPTH, MAX_NODES, Node, Place, Value, too_deep, too_many};
use super::reader::SyntaxError;

/// Reads one JSON document.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut reader = JsonReader { rest: text, place: Place { line: 1, column: 1 }, nodes: 0 };
    reader.skip_space()?;
    if reader.rest.is_empty() {
        return Err(reader.error("the document is empty"));
    }
    let node = reader.value(0)?;
    reader.skip_space()?;
    if !reader.rest.is_empty() {
        return Err(reader.error("there is more text after the document's end"));
    }
    Ok(node)
}

struct JsonReader<'a> {
    rest: &'a str,
    place: Place,
    nodes: usize,
}

impl<'a> JsonReader<'a> {
    fn error(&self, message: &str) -> SyntaxError {
        SyntaxError::new(self.place, message)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn step(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.rest = self.rest.get(letter.len_utf8()..)?;
        if letter == '\n' {
            self.place = Place { line: self.place.line.saturating_add(1), column: 1 };
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(letter)
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.step();
        }
        found
    }

    /// White space and comments.
    fn skip_space(&mut self) -> Result<(), SyntaxError> {
        loop {
            if self.rest.starts_with("//") {
                while self.peek().is_some_and(|letter| letter != '\n') {
                    self.step();
                }
            } else if self.rest.starts_with("/*") {
                let start = self.error("a comment has no end");
                let length = self.rest.find("*/").ok_or(start)? + 2;
                let end = self.rest.len() - length;
                while self.rest.len() > end {
                    self.step();
                }
            } else if self.peek().is_some_and(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r')) {
                self.step();
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(&too_many()));
        }
        let place = self.place;
        let value = match self.peek() {
            Some('{' | '[') if depth >= MAX_DEPTH => return Err(self.error(&too_deep())),
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Text(self.string()?),
            Some('\'') => return Err(self.error("text stands in double quotes in JSON")),
            Some(_) => self.word()?,
            None => return Err(self.error("a value is missing at the end of the text")),
        };
        Ok(Node::new(value, place))
    }

    fn map(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let start = self.place;
        self.step();
        let mut entries = Vec::new();
        let mut keys = BTreeSet::new();
        loop {
            self.skip_space()?;
            if self.take('}') {
                return Ok(Value::Map(entries));
            }
            let key_place = self.place;
            match self.peek() {
                Some('"') => {}
                None => return Err(self.unclosed('{', start)),
                _ => return Err(self.error("a key in double quotes is expected here").with_hint("JSON keys look like \"key\": value")),
            }
            let key = self.string()?;
            if !keys.insert(key.clone()) {
                return Err(SyntaxError::duplicate_key(key_place, &key));
            }
            self.skip_space()?;
            if !self.take(':') {
                return Err(self.error("`:` is expected after a key"));
            }
            self.skip_space()?;
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, key_place, value });
            self.separator('}', '{', start)?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let start = self.place;
        self.step();
        let mut items = Vec::new();
        loop {
            self.skip_space()?;
            if self.take(']') {
                return Ok(Value::List(items));
            }
            if self.peek().is_none() {
                return Err(self.unclosed('[', start));
            }
            items.push(self.value(depth + 1)?);
            self.separator(']', '[', start)?;
        }
    }

    /// A comma, or the end which the caller then takes.
    fn separator(&mut self, end: char, open: char, start: Place) -> Result<(), SyntaxError> {
        self.skip_space()?;
        match self.peek() {
            None => Err(self.unclosed(open, start)),
            Some(letter) if letter == end => Ok(()),
            Some(',') => {
                self.step();
                Ok(())
            }
            Some(_) => Err(self.error(&format!("`,` or `{end}` is expected here"))),
        }
    }

    fn unclosed(&self, open: char, start: Place) -> SyntaxError {
        self.error(&format!("the `{open}` of line {}, column {} is not closed", start.line, start.column))
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.place;
        let text = self.rest;
        self.step();
        loop {
            match self.step() {
                Some('"') => break,
                Some('\\') => {
                    self.step();
                }
                Some('\n') | None => return Err(SyntaxError::new(start, "a text has no closing quote")),
                Some(_) => {}
            }
        }
        let quoted = text.get(..text.len() - self.rest.len()).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|_| SyntaxError::new(start, "a text holds a control character or an unknown `\\` escape"))
    }

    /// A number or one of the three words.
    fn word(&mut self) -> Result<Value, SyntaxError> {
        let start = self.place;
        let text = self.rest;
        let end = text.find(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '+' | '-' | '.' | '_'))).unwrap_or(text.len());
        let word = text.get(..end).unwrap_or_default();
        if word.is_empty() {
            return Err(self.error(&format!("`{}` is not expected here", self.peek().unwrap_or(' '))));
        }
        for _ in word.chars() {
            self.step();
        }
        match word {
            "null" => return Ok(Value::Null),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        // serde_json knows JSON's grammar of numbers, but rounds some floats wrongly: std reads the value. Integers keep 128 bits, so
        // that nothing is rounded before the range check.
        let no_number = |_| SyntaxError::new(start, &format!("`{word}` is no number"));
        let integer = word.strip_prefix('-').unwrap_or(word).bytes().all(|byte| byte.is_ascii_digit());
        match serde_json::from_str::<f64>(word) {
            Ok(_) if integer && word.len() < 38 => word.parse().map(Value::Integer).map_err(|_| no_number(())),
            Ok(_) => word.parse().map(Value::Float).map_err(|_| no_number(())),
            Err(_) => Err(SyntaxError::new(start, &format!("`{}` is neither a number nor true, false, null", super::node::shorten(word)))
                .with_hint("text stands in double quotes in JSON")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let text = "{\"a\": [1, -2.5e3, true, null, \"x\\n\\u00e9\"], \"\": {}, \"n\": 18446744073709551615}";
        let expected: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text).unwrap().to_json(), expected);
    }

    #[test]
    fn tabs_comments_and_trailing_commas_are_fine() {
        let node = parse("// head\r\n{\n\t\"a\": 1, /* two\nlines */\n\t\"b\": [1,],\n}\n").unwrap();
        assert_eq!(node.to_json(), serde_json::json!({"a": 1, "b": [1]}));
        assert_eq!(node.locate("b[0]"), Place { line: 5, column: 8 });
    }

    #[test]
    fn faults_have_a_place_and_a_message() {
        for (text, line, column, part) in [
            ("", 1, 1, "empty"),
            ("{\"a\": 1,\n \"a\": 2}", 2, 2, "`a` is there twice"),
            ("{\"a\": 1\n \"b\": 2}", 2, 2, "`,` or `}`"),
            ("{a: 1}", 1, 2, "double quotes"),
            ("{\"a\": nan}", 1, 7, "`nan` is neither"),
            ("{\"a\": 01}", 1, 7, "`01` is neither"),
            ("{\"a\": [1, 2", 1, 12, "`[` of line 1, column 7"),
            ("{\"a\": \"x\n\"}", 1, 7, "no closing quote"),
            ("{} x", 1, 4, "after the document's end"),
            ("{\"a\": \"\\q\"}", 1, 7, "escape"),
            ("{\"é\": ?}", 1, 7, "`?` is not expected"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text:?}: {}", error.message);
            assert_eq!(error.place, Place { line, column }, "{text:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_runs_out() {
        assert_eq!(parse(&"[".repeat(1_000_000)).unwrap_err().message, too_deep());
        assert_eq!(parse(&"{\"a\":".repeat(1_000_000)).unwrap_err().message, too_deep());
    }
}
