//! Digests of trees and of huge files, and lists of them.

use std::fs;
use std::path::Path;

use vhpack_core::{
    Algorithm, CancelToken, CheckReport, CheckRequest, ErrorKind, HashRequest, Progress, Result, Verdict, check, hash,
    sum_line,
};

fn list(source: &Path, algorithm: Algorithm, jobs: usize) -> Result<String> {
    let request = HashRequest { sources: [source].into_iter().collect(), algorithm, jobs, ..HashRequest::default() };
    let mut lines = Vec::new();
    hash(&request, &Progress::default(), &CancelToken::default(), |name, sum| {
        sum_line(&mut lines, algorithm, &sum?, name);
        Ok(())
    })?;
    Ok(String::from_utf8(lines).unwrap())
}

fn verdicts(list: &str) -> (CheckReport, Vec<&'static str>) {
    let request = CheckRequest { list: list.into(), ..CheckRequest::default() };
    let mut said = Vec::new();
    let report = check(&request, &Progress::default(), &CancelToken::default(), |_, verdict| {
        said.push(match verdict {
            Verdict::Same => "same",
            Verdict::Differs => "differs",
            Verdict::Unreadable(_) => "unreadable",
        });
    });
    (report.unwrap(), said)
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("a/deep")).unwrap();
    fs::create_dir_all(root.join("b")).unwrap();
    for i in 0..500 {
        fs::write(root.join(format!("a/{i:03}")), vec![7; i * 13]).unwrap();
        fs::write(root.join(format!("b/{i:03}")), vec![9; i * 7]).unwrap();
    }
    fs::write(root.join("a.txt"), b"sorted between the folder and its files").unwrap();
    fs::write(root.join("a/deep/medium"), vec![1; (256 << 10) + 1]).unwrap();
    fs::write(root.join("a/deep/whole buffer"), vec![1; 256 << 10]).unwrap();
}

#[test]
fn lines_come_in_the_order_of_names_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    for algorithm in Algorithm::ALL {
        let alone = list(folder.path(), algorithm, 1).unwrap();
        let names: Vec<_> = alone.lines().map(|line| line.split_once("  ").unwrap().1).collect();
        assert_eq!(names.len(), 1003);
        assert!(names.is_sorted());
        assert_eq!(alone, list(folder.path(), algorithm, 7).unwrap());
        assert_eq!(verdicts(&alone).0.same, 1003);
    }
}

#[test]
fn a_huge_file_has_the_digest_that_one_thread_finds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge");
    let pattern: Vec<u8> = (0..=250).collect();
    for length in [8 << 20, (8 << 20) + 1, (11 << 20) - 1, 13 << 20, (16 << 20) + 1024] {
        let bytes: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
        fs::write(&path, &bytes).unwrap();
        let wanted = format!("{}  {}\n", blake3::hash(&bytes), path.display());
        for jobs in [1, 2, 5] {
            assert_eq!(list(&path, Algorithm::Blake3, jobs).unwrap(), wanted, "{length} {jobs}");
        }
    }
}

#[test]
fn a_check_tells_what_is_the_same_what_differs_and_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["1", "2", "3"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let lines = list(folder.path(), Algorithm::Blake3, 2).unwrap();
    fs::write(folder.path().join("2"), "other").unwrap();
    fs::remove_file(folder.path().join("3")).unwrap();
    let (report, said) = verdicts(&format!("# a comment\n{lines}\nno digest at all\n"));
    assert_eq!(said, ["same", "differs", "unreadable"]);
    assert_eq!((report.same, report.differing, report.unreadable), (1, 1, 1));
    assert_eq!(report.malformed, [6]);
}

#[test]
fn a_list_without_lines_and_sources_without_files_are_errors() {
    let request = CheckRequest { list: b"nothing\n".to_vec(), ..CheckRequest::default() };
    let error = check(&request, &Progress::default(), &CancelToken::default(), |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(list(folder.path(), Algorithm::Xxh3, 1).unwrap_err().kind(), ErrorKind::NoFiles);
}

#[test]
fn a_cancelled_call_ends() {
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    let cancel = CancelToken::default();
    let request = HashRequest { sources: [folder.path()].into_iter().collect(), ..HashRequest::default() };
    let result = hash(&request, &Progress::default(), &cancel, |_, _| {
        cancel.cancel();
        Ok(())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}
