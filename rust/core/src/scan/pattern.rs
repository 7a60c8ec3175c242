//! Sources as text become patterns: a literal folder to start in and components to match below it.

use super::wildcard::{Wildcard, has_wildcard};

/// A file that describes another output; a wildcard does not swallow it.
pub(crate) const SIDECAR_SUFFIX: &[u8] = b".metadata.json";
/// The one sidecar that describes many outputs.
pub(crate) const SIDECAR_LIST: &[u8] = b"valohai.metadata.jsonl";

pub(crate) fn is_sidecar(name: &[u8]) -> bool {
    name.ends_with(SIDECAR_SUFFIX) || name == SIDECAR_LIST
}

pub(crate) fn is_hidden(name: &[u8]) -> bool {
    name.first() == Some(&b'.')
}

/// One component of a pattern.
#[derive(Debug, Clone)]
pub(crate) enum Component {
    /// A name, or a text with wildcards.
    Name(Wildcard),
    /// `**`: any number of folders, none included; in last place anything below.
    Recursive,
    /// `..` behind a wildcard.
    Parent,
}

/// What stands below the literal folder of a pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub components: Vec<Component>,
    /// Written with a slash or `/.` at the end: matches folders only.
    pub directories_only: bool,
}

/// The literal folder's text and the pattern below it; `None` where there is no wildcard.
pub(crate) fn parse(text: &[u8]) -> Option<(&[u8], Pattern)> {
    let wildcard_at = text.split(|&b| b == b'/').scan(0, |at, part| {
        let start = *at;
        *at += part.len() + 1;
        Some((start, part))
    });
    let (start, _) = wildcard_at.into_iter().find(|(_, part)| has_wildcard(part))?;
    let directories_only = text.ends_with(b"/") || text.ends_with(b"/.");
    let pattern = Pattern { components: components(&text[start..]), directories_only };
    Some((&text[..start], pattern))
}

/// The components of a pattern without its literal folder.
pub(crate) fn components(text: &[u8]) -> Vec<Component> {
    text.split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| match part {
            b"**" => Component::Recursive,
            b".." => Component::Parent,
            part => Component::Name(Wildcard::new(part)),
        })
        .collect()
}

impl Pattern {
    /// What a folder stands for where it means the files in it.
    pub fn everything() -> Self {
        Self { components: vec![Component::Name(Wildcard::new(b"*"))], directories_only: false }
    }

    /// Whether the pattern itself says that everything below is meant, so that a folder it matches is not packed whole.
    pub fn ends_recursive(&self) -> bool {
        matches!(self.components.last(), Some(Component::Recursive))
    }

    /// Whether the pattern goes up again behind a wildcard.
    pub fn goes_up(&self) -> bool {
        self.components.iter().any(|component| matches!(component, Component::Parent))
    }

    /// Whether the last component spells out a sidecar's ending, and so asks for sidecars.
    pub fn names_sidecars(&self) -> bool {
        match self.components.last() {
            Some(Component::Name(last)) => is_sidecar(last.tail()),
            _ => false,
        }
    }
}

/// What to leave out of an archive.
#[derive(Debug)]
pub(crate) struct Exclude {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    components: Vec<Component>,
    /// Without a slash: matched against every component by itself.
    anywhere: bool,
    directories_only: bool,
}

impl Exclude {
    pub fn new(patterns: &[Vec<u8>]) -> Self {
        let rule = |text: &Vec<u8>| {
            let directories_only = text.last() == Some(&b'/');
            let trimmed = text.strip_suffix(b"/").unwrap_or(text);
            let trimmed = trimmed.strip_prefix(b"./").unwrap_or(trimmed);
            Rule { components: components(trimmed), anywhere: !trimmed.contains(&b'/'), directories_only }
        };
        Self { rules: patterns.iter().map(rule).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the member `prefix` + `name` is to be left out; its folders were asked about before.
    pub fn matches(&self, prefix: &[u8], name: &[u8], is_directory: bool) -> bool {
        self.rules.iter().any(|rule| {
            if rule.directories_only && !is_directory {
                return false;
            }
            if rule.anywhere {
                return match &rule.components[..] {
                    [Component::Name(wildcard)] => wildcard.matches(name),
                    [Component::Recursive] => true,
                    _ => false,
                };
            }
            let parts: Vec<&[u8]> =
                prefix.split(|&b| b == b'/').filter(|part| !part.is_empty()).chain([name]).collect();
            path_matches(&rule.components, &parts)
        })
    }

    /// Whether any folder of the member prefix (`a/b/`) is to be left out.
    pub fn matches_prefix(&self, prefix: &[u8]) -> bool {
        let mut start = 0;
        while let Some(length) = prefix[start..].iter().position(|&b| b == b'/') {
            if self.matches(&prefix[..start], &prefix[start..start + length], true) {
                return true;
            }
            start += length + 1;
        }
        false
    }
}

fn path_matches(components: &[Component], parts: &[&[u8]]) -> bool {
    match (components.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((Component::Recursive, rest)), _) => {
            (0..=parts.len()).any(|skipped| path_matches(rest, &parts[skipped..]))
        }
        (Some((Component::Name(wildcard), rest)), Some((part, behind))) => {
            wildcard.matches(part) && path_matches(rest, behind)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Exclude, parse};

    #[test]
    fn the_literal_folder_ends_before_the_first_wildcard() {
        for (text, folder) in [("a/b/*.png", "a/b/"), ("*.png", ""), ("/x/**/y", "/x/"), ("a*/b", "")] {
            assert_eq!(parse(text.as_bytes()).unwrap().0, folder.as_bytes(), "{text}");
        }
        assert!(parse(b"a/b.png").is_none());
    }

    #[test]
    fn an_exclude_without_a_slash_holds_for_every_component() {
        let exclude = Exclude::new(&[b"*.tmp".to_vec(), b"cache/".to_vec(), b"a/**/z".to_vec()]);
        assert!(exclude.matches(b"deep/down/", b".x.tmp", false));
        assert!(exclude.matches(b"", b"cache", true));
        assert!(!exclude.matches(b"", b"cache", false));
        assert!(exclude.matches(b"a/b/c/", b"z", false));
        assert!(exclude.matches(b"a/", b"z", false));
        assert!(!exclude.matches(b"b/", b"z", false));
        assert!(exclude.matches_prefix(b"x/cache/"));
    }
}
