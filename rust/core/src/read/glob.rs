//! Patterns against member names: the rules of Python's `glob(recursive=True)`, as if the archive were a folder.

use crate::scan::{Component, components, is_hidden};

/// A pattern such as `train/**/*.png`.
pub(crate) struct Glob {
    components: Vec<Component>,
    directories_only: bool,
}

impl Glob {
    pub fn new(text: &[u8]) -> Self {
        Self { components: components(text), directories_only: text.ends_with(b"/") }
    }

    /// Whether the member matches; a folder's name ends with a slash.
    pub fn matches(&self, name: &[u8]) -> bool {
        let (name, is_directory) = match name.strip_suffix(b"/") {
            Some(folder) => (folder, true),
            None => (name, false),
        };
        if self.directories_only && !is_directory {
            return false;
        }
        // A set of components that the rest of the name may begin with: linear, however many `**` there are.
        let mut open = vec![false; self.components.len() + 1];
        open[0] = true;
        self.skip_recursive(&mut open);
        // `tar cf all.tar .` writes names that begin with `./`.
        for part in name.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            let mut next = vec![false; open.len()];
            for (at, component) in self.components.iter().enumerate().filter(|(at, _)| open[*at]) {
                match component {
                    Component::Name(wildcard) => {
                        next[at + 1] |= (!is_hidden(part) || wildcard.asks_for_hidden()) && wildcard.matches(part);
                    }
                    Component::Recursive => next[at] |= !is_hidden(part),
                    Component::Parent => {}
                }
            }
            open = next;
            self.skip_recursive(&mut open);
        }
        open[self.components.len()]
    }

    /// `**` may stand for nothing.
    fn skip_recursive(&self, open: &mut [bool]) {
        for (at, component) in self.components.iter().enumerate() {
            if open[at] && matches!(component, Component::Recursive) {
                open[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn patterns_match_as_python_would_in_a_folder() {
        for (pattern, name, expected) in [
            ("*.png", "a.png", true),
            ("*.png", "x/a.png", false),
            ("**/*.png", "a.png", true),
            ("**/*.png", "x/y/a.png", true),
            ("**", "x/y/a.png", true),
            ("**", "x/.y/a.png", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("x/**", "x/y", true),
            ("x/**", "y/x", false),
            ("x/*/", "x/y/", true),
            ("x/*/", "x/y", false),
            ("**/a/**/b", "a/b", true),
            ("**/a/**/b", "q/a/r/s/b", true),
            ("**/a/**/b", "q/a/r/s/c", false),
            ("a/[0-9]?.txt", "a/12.txt", true),
            ("*", "./a", true),
            ("./*", "./a", true),
            ("**", "./x/a", true),
            ("*", "./x/a", false),
            ("*", "./.hidden", false),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes()).matches(name.as_bytes()), expected, "{pattern} against {name}");
        }
    }
}
