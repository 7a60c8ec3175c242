//! How much room there is for what an archive unpacks to: on a disk, or in memory.

use std::path::Path;

use rustix::fs::CWD;

use crate::fs;

/// Bytes free on the disk of `place`, or of the nearest folder above it that is there; `None` where nobody knows.
pub(crate) fn on_disk(place: &Path) -> Option<u64> {
    place.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs::free_bytes(folder).ok()
    })
}

/// Bytes of memory that this process could take now, by the machine and by the limits of its container; `None` where
/// nobody knows.
pub(crate) fn in_memory() -> Option<u64> {
    let machine = text("/proc/meminfo").and_then(|text| available(&text));
    let container = text("/proc/self/cgroup").into_iter().flat_map(|text| {
        let groups = folders(&text);
        groups.into_iter().filter_map(|(folder, files)| left(&folder, files)).collect::<Vec<u64>>()
    });
    container.chain(machine).min()
}

fn text(path: &str) -> Option<String> {
    // Such files say that they have no bytes; all that is looked for stands far in front of this.
    let mut bytes = vec![0; 16 << 10];
    let file = fs::open_file(CWD, path.as_bytes(), true).ok()?;
    let count = fs::read_at(file, &mut bytes, 0).ok()?;
    bytes.truncate(count);
    String::from_utf8(bytes).ok()
}

/// What the machine has, of `/proc/meminfo`.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Limit, use, and which lines of `memory.stat` are caches that give way.
type Files = (&'static str, &'static str, [&'static str; 2]);

const VERSION_1: Files =
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]);
const VERSION_2: Files = ("memory.max", "memory.current", ["inactive_file", "active_file"]);

/// Control groups that this process is in, the groups above them among these, of `/proc/self/cgroup`. A container may see
/// its own as the root, whatever the path says.
fn folders(text: &str) -> Vec<(String, Files)> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, files) = match controllers {
            "" => ("/sys/fs/cgroup", VERSION_2),
            list if list.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", VERSION_1),
            _ => continue,
        };
        folders.extend(Path::new(path).ancestors().map(|path| (format!("{root}{}", path.display()), files)));
    }
    folders
}

/// What a control group may still take.
fn left(folder: &str, (limit, usage, caches): Files) -> Option<u64> {
    let number = |name: &str| text(&format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
    let (limit, usage) = (number(limit)?, number(usage)?);
    let stat = text(&format!("{folder}/memory.stat")).unwrap_or_default();
    let cache = stat.lines().filter_map(|line| line.split_once(' '));
    let cache = cache.filter(|(name, _)| caches.contains(name)).filter_map(|(_, bytes)| bytes.parse::<u64>().ok());
    Some(limit.saturating_sub(usage.saturating_sub(cache.sum())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   12 kB\n"), Some(12 << 10));
        assert_eq!([available(""), available("MemAvailable: many kB\n")], [None, None]);
        let found = |text| folders(text).into_iter().map(|(folder, files)| (folder, files.0)).collect::<Vec<_>>();
        let version_2 = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"];
        assert_eq!(found("0::/a/b\n"), version_2.map(|folder| (folder.to_owned(), "memory.max")));
        let version_1 = ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/"];
        let text = "9:cpu,memory:/a\n1:name=systemd:/a\nodd\n";
        assert_eq!(found(text), version_1.map(|folder| (folder.to_owned(), "memory.limit_in_bytes")));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test prepares its files itself")]
    fn a_group_has_left_what_it_does_not_use_or_uses_as_cache() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 300\ninactive_file 150\nactive_file 50\n");
        let place = folder.path().to_str().unwrap();
        assert_eq!(left(place, VERSION_2), Some(500));
        write("memory.max", "max\n");
        assert_eq!(left(place, VERSION_2), None);
    }

    #[test]
    fn a_place_that_is_not_there_yet_has_the_room_of_the_folder_above() {
        let folder = tempfile::tempdir().unwrap();
        assert!(on_disk(&folder.path().join("not/yet")).is_some_and(|free| free > 0));
        assert!(on_disk(Path::new("not/yet")).is_some());
        assert!(in_memory().is_some_and(|free| free > 0));
    }
}
