//! Which members are one sample: those that share a stem, by `WebDataset`'s rule.

/// What `WebDataset` takes for the key of a sample: the name up to the first dot of its last component. `None` for names that
/// it gives no key to, and that belong to nothing.
///
/// Where the dot comes first, its expression goes back to the folder, slash and all, unless that has a dot itself.
pub(crate) fn stem(folder: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    match name.iter().position(|&byte| byte == b'.')? {
        0 => {
            let last = folder.strip_suffix(b"/")?.rsplit(|&byte| byte == b'/').next()?;
            (!last.is_empty() && !last.contains(&b'.')).then(|| folder.to_vec())
        }
        dot => Some([folder, &name[..dot]].concat()),
    }
}

/// The order in which each sample's members stand together, and the rest in the order of their names: `a.png` and `a.txt`
/// before `a.parts/1.png`, which would stand between them. A reader of streams takes what is apart for two samples.
pub(crate) fn together<'a>(count: usize, member: impl Fn(usize) -> (&'a [u8], &'a [u8])) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut at = 0;
    while at < order.len() {
        at += gather(&member, &mut order[at..]);
    }
    order
}

/// Put the members of the first one's sample first; how many these are.
fn gather<'a>(member: impl Fn(usize) -> (&'a [u8], &'a [u8]), order: &mut [usize]) -> usize {
    let stem_of = |index: usize| {
        let (folder, name) = member(index);
        stem(folder, name)
    };
    let Some(first) = order.first().and_then(|&index| stem_of(index)) else { return 1 };
    let is_own = |index: usize| stem_of(index).as_ref() == Some(&first);
    // Names of one stem begin with it and a dot, and in their order stand with all others that do.
    let may_be_near = |index: usize| {
        let (folder, name) = member(index);
        [folder, name].concat().strip_prefix(&first[..]).is_some_and(|rest| rest.starts_with(b"."))
    };
    let ends = |from: usize, goes_on: &dyn Fn(usize) -> bool| {
        order[from..].iter().position(|&index| !goes_on(index)).map_or(order.len(), |count| from + count)
    };
    let apart = ends(0, &is_own);
    let end = ends(apart, &may_be_near);
    if end == apart {
        return apart;
    }
    let (own, others): (Vec<usize>, Vec<usize>) = order[..end].iter().partition(|&&index| is_own(index));
    for (place, index) in order.iter_mut().zip(own.iter().chain(&others)) {
        *place = *index;
    }
    own.len()
}

#[cfg(test)]
mod tests {
    use super::{stem, together};

    fn parts(name: &str) -> (&[u8], &[u8]) {
        let cut = name.rfind('/').map_or(0, |slash| slash + 1);
        (&name.as_bytes()[..cut], &name.as_bytes()[cut..])
    }

    #[test]
    fn stems_are_those_of_webdataset() {
        for (name, expected) in [
            ("a.b", Some("a")),
            ("a.b.c", Some("a")),
            ("x/a.b.c", Some("x/a")),
            ("x.y/a.b", Some("x.y/a")),
            ("a", None),
            ("x.y/a", None),
            (".a", None),
            (".a.b", None),
            ("x/.a", Some("x/")),
            ("x/.a.b", Some("x/")),
            ("w.v/x/.a", Some("w.v/x/")),
            ("x.y/.a", None),
            ("a.", Some("a")),
        ] {
            let (folder, name_in_it) = parts(name);
            let found = stem(folder, name_in_it);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn samples_stand_together_and_all_else_stays() {
        let names =
            ["a-1.x", "a.a", "a.b/c.1", "a.b/c.d/e.1", "a.b/c.d/e.2", "a.b/c.z", "a.c", "a/1.x", "b", "c.d/e.f", "c.g"];
        let order: Vec<&str> =
            together(names.len(), |index| parts(names[index])).into_iter().map(|n| names[n]).collect();
        let wanted =
            ["a-1.x", "a.a", "a.c", "a.b/c.1", "a.b/c.z", "a.b/c.d/e.1", "a.b/c.d/e.2", "a/1.x", "b", "c.d/e.f", "c.g"];
        assert_eq!(order, wanted);
    }
}
