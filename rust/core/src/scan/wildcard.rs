//! One component of a pattern under the rules of Python's `fnmatch`, matched against a name in bytes.

/// A compiled component such as `img_*.p[ng]?`.
///
/// Names are matched by character where they are UTF-8, and byte by byte where they are not, as Python does with
/// surrogate escapes.
#[derive(Debug, Clone)]
pub(crate) struct Wildcard {
    shape: Shape,
    /// The text after the last wildcard: what every match ends with.
    tail: Vec<u8>,
    starts_with_dot: bool,
}

#[derive(Debug, Clone)]
enum Shape {
    /// No wildcard at all.
    Exact,
    /// `*` and then the tail.
    Suffix,
    General(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(u32),
    Any,
    Many,
    Set { negated: bool, ranges: Vec<(u32, u32)> },
}

/// Whether Python's glob would treat the text as a pattern.
pub(crate) fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// Characters of a name; a byte that is not UTF-8 becomes the lone surrogate that Python gives it.
fn characters(text: &[u8]) -> impl Iterator<Item = u32> {
    text.utf8_chunks().flat_map(|chunk| {
        let bytes = chunk.invalid().iter().map(|&b| 0xDC00 + u32::from(b));
        chunk.valid().chars().map(u32::from).chain(bytes)
    })
}

impl Wildcard {
    pub fn new(text: &[u8]) -> Self {
        let tail_at = text.iter().rposition(|b| matches!(b, b'*' | b'?' | b'[' | b']')).map_or(0, |at| at + 1);
        let shape = if !has_wildcard(text) {
            Shape::Exact
        } else if text[0] == b'*' && tail_at == 1 {
            Shape::Suffix
        } else {
            Shape::General(tokens(&characters(text).collect::<Vec<_>>()))
        };
        let tail = match shape {
            Shape::Exact => text.to_vec(),
            _ => text[tail_at..].to_vec(),
        };
        Self { shape, tail, starts_with_dot: text.first() == Some(&b'.') }
    }

    /// Whether the pattern itself begins with a dot, and so asks for hidden names.
    pub fn asks_for_hidden(&self) -> bool {
        self.starts_with_dot
    }

    /// The literal text that every match ends with.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// The name, where the pattern is one.
    pub fn literal(&self) -> Option<&[u8]> {
        matches!(self.shape, Shape::Exact).then_some(&self.tail[..])
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.shape {
            Shape::Exact => name == self.tail,
            Shape::Suffix => name.ends_with(&self.tail),
            Shape::General(tokens) => {
                name.ends_with(&self.tail) && matches(tokens, &characters(name).collect::<Vec<_>>())
            }
        }
    }
}

fn tokens(text: &[u32]) -> Vec<Token> {
    const STAR: u32 = b'*' as u32;
    const QUESTION: u32 = b'?' as u32;
    const OPEN: u32 = b'[' as u32;
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let c = text[at];
        at += 1;
        match c {
            STAR => {
                if tokens.last() != Some(&Token::Many) {
                    tokens.push(Token::Many);
                }
            }
            QUESTION => tokens.push(Token::Any),
            OPEN => match set_end(text, at) {
                Some(end) => {
                    tokens.push(set(&text[at..end]));
                    at = end + 1;
                }
                None => tokens.push(Token::Char(OPEN)),
            },
            c => tokens.push(Token::Char(c)),
        }
    }
    tokens
}

/// Where the `]` stands that closes a set opened just before `at`; `]` in first place is a member.
fn set_end(text: &[u32], at: usize) -> Option<usize> {
    let mut from = at;
    if text.get(from) == Some(&u32::from(b'!')) {
        from += 1;
    }
    if text.get(from) == Some(&u32::from(b']')) {
        from += 1;
    }
    text.get(from..)?.iter().position(|&c| c == u32::from(b']')).map(|offset| from + offset)
}

/// The text between the brackets. A hyphen is a range only between two members. Python drops empty ranges first and looks
/// for the `!` afterwards, so that dropping one can bring a `!` to the front.
fn set(text: &[u32]) -> Token {
    const HYPHEN: u32 = b'-' as u32;
    const NOT: u32 = b'!' as u32;
    // Chunks between range hyphens: the last of one and the first of the next are a range's ends.
    let mut chunks: Vec<Vec<u32>> = Vec::new();
    let (mut start, mut search) = (0, if text.first() == Some(&NOT) { 2 } else { 1 });
    while let Some(offset) = text.get(search..).and_then(|rest| rest.iter().position(|&c| c == HYPHEN)) {
        let hyphen = search + offset;
        chunks.push(text[start..hyphen].to_vec());
        start = hyphen + 1;
        search = hyphen + 3;
    }
    match chunks.last_mut() {
        Some(last) if start == text.len() => last.push(HYPHEN),
        _ => chunks.push(text[start..].to_vec()),
    }
    for k in (1..chunks.len()).rev() {
        if chunks[k - 1].last() > chunks[k].first() {
            let rest = chunks.remove(k);
            chunks[k - 1].pop();
            chunks[k - 1].extend_from_slice(&rest[1..]);
        }
    }
    let negated = chunks[0].first() == Some(&NOT);
    if negated {
        chunks[0].remove(0);
    }
    let mut ranges = Vec::new();
    for (k, chunk) in chunks.iter().enumerate() {
        ranges.extend(chunk.iter().map(|&c| (c, c)));
        match (chunk.last(), chunks.get(k + 1).map(|next| next.first())) {
            (Some(&low), Some(Some(&high))) => ranges.push((low, high)),
            // Nothing stands before it any more: a hyphen like any other member.
            (None, Some(_)) => ranges.push((HYPHEN, HYPHEN)),
            _ => {}
        }
    }
    Token::Set { negated, ranges }
}

/// Greedy with one point to come back to: the last `*` seen. Linear for most names, never exponential.
fn matches(tokens: &[Token], name: &[u32]) -> bool {
    let (mut t, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match tokens.get(t) {
            Some(Token::Many) => {
                star = Some((t, n));
                t += 1;
                continue;
            }
            Some(Token::Any) => true,
            Some(Token::Char(c)) => *c == name[n],
            Some(Token::Set { negated, ranges }) => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&name[n])) != *negated
            }
            None => false,
        };
        if step {
            t += 1;
            n += 1;
        } else if let Some((star_t, star_n)) = star {
            t = star_t + 1;
            n = star_n + 1;
            star = Some((star_t, n));
        } else {
            return false;
        }
    }
    tokens[t..].iter().all(|token| *token == Token::Many)
}

#[cfg(test)]
mod tests {
    use super::Wildcard;

    fn matches(pattern: &str, name: &str) -> bool {
        Wildcard::new(pattern.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn wildcards_follow_the_rules_of_fnmatch() {
        for (pattern, name, expected) in [
            ("*.png", "a.png", true),
            ("*.png", "a.png.bak", false),
            ("a?c", "aéc", true),
            ("[!a]b", "cb", true),
            ("[!a]b", "ab", false),
            ("[]-]x", "]x", true),
            ("[]-]x", "-x", true),
            ("[z-a]", "z", false),
            ("[a-c-e]", "d", false),
            ("[a-c-e]", "-", true),
            ("[^a]", "^", true),
            ("[^a]", "b", false),
            ("[", "[", true),
            ("[!]", "[!]", true),
            ("a[", "a[", true),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("**", "anything", true),
            ("[--0]", ".", true),
            ("[[-?!]", "b", true),
            ("[[-?!-x]", "x", false),
            ("[[-?!-x]", "b", true),
            ("]x]", "]x]", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} against {name}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_count_one_each() {
        assert!(Wildcard::new(b"a?b").matches(b"a\xffb"));
        assert!(!Wildcard::new(b"a?b").matches(b"a\xff\xfeb"));
    }
}
