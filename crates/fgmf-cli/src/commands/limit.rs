//! The limit of memory: what `--memory` says, else a share of what the system has left.

use std::path::Path;

/// Share of what is left that a run may take if nothing is said: three quarters.
const SHARE: [u64; 2] = [3, 4];
/// Stands in for what the system says is left, in MiB: for tests, and for machines that others
/// share without a group of their own.
const AVAILABLE: &str = "FGMF_AVAILABLE_MIB";

/// Most memory of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// In MiB.
    pub(super) mib: u64,
    /// Whether nobody stated it.
    pub(super) usual: bool,
}

impl Limit {
    /// What is stated; else the share of what is left; `None` where the system does not say.
    /// `resident` bytes are the process's own already.
    pub(super) fn of(stated: Option<u64>, resident: u64) -> Option<Self> {
        let usual = || {
            let told = std::env::var(AVAILABLE).ok();
            let told = told
                .and_then(|mib| mib.parse::<u64>().ok())
                .map(|mib| mib.saturating_mul(1 << 20));
            told.map(|left| shared(left, None, resident))
                .or_else(|| of_system(resident))
        };
        match stated {
            Some(mib) => Some(Self { mib, usual: false }),
            None => usual().map(|bytes| Self {
                mib: bytes >> 20,
                usual: true,
            }),
        }
    }

    /// The error of this limit where so many bytes would do.
    pub(super) fn too_little(self, least: u64) -> fgmf::Error {
        let (least, threads) = (least.div_ceil(1 << 20), rayon::current_num_threads());
        let expected = format!("at least {least} MiB for this model and data on {threads} threads");
        let mib = self.mib;
        let found = match self.usual {
            false => mib.to_string(),
            true => format!(
                "{mib}, three quarters of what the system has left, which is the default; \
                 --memory {least} allows it"
            ),
        };
        fgmf::Error::parameter("memory", expected, found)
    }
}

/// Bytes that a process may have which has `resident`, where so many are left, and its group may
/// have `group` in all.
fn shared(left: u64, group: Option<u64>, resident: u64) -> u64 {
    let part = |bytes: u64| bytes / SHARE[1] * SHARE[0];
    let own = part(left).saturating_add(resident);
    group.map_or(own, |most| own.min(part(most)))
}

fn of_system(resident: u64) -> Option<u64> {
    let text = |path: &Path| std::fs::read_to_string(path).ok();
    let left = available(&text(Path::new("/proc/meminfo"))?)?;
    let groups = text(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let files = limit_files(&groups);
    let limits = files.iter().filter_map(|file| text(Path::new(file)));
    let group = limits.filter_map(|limit| limit.trim().parse().ok()).min();
    Some(shared(left, group, resident))
}

/// Bytes that `/proc/meminfo` says are left.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The files that may hold a limit, of the groups that `/proc/self/cgroup` names and of those
/// around them. A file without a limit says `max`, or a number larger than any memory.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match kinds {
            "" => ("/sys/fs/cgroup", "memory.max"),
            k if k.split(',').any(|k| k == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let around = Path::new(path).ancestors().map(|p| p.display().to_string());
        files.extend(around.map(|p| format!("{root}{}/{file}", p.trim_end_matches('/'))));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_what_is_left_or_of_the_group() {
        let mib = 1 << 20;
        assert_eq!(shared(1000 * mib, None, 40 * mib), 790 * mib);
        assert_eq!(shared(1000 * mib, Some(400 * mib), 40 * mib), 300 * mib);
        assert_eq!(shared(1000 * mib, Some(u64::MAX), 40 * mib), 790 * mib);
        let text = "MemTotal:  200 kB\nMemFree:  10 kB\nMemAvailable:     100 kB\n";
        assert_eq!(available(text), Some(100 << 10));
        assert_eq!(available("MemTotal: 200 kB\n"), None);
        assert_eq!(available("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn groups_of_both_kinds_are_looked_at_with_those_around_them() {
        let files = limit_files("4:cpu,memory:/a/b\n3:cpuset:/x\n0::/a\nodd\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/a/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected);
    }

    #[test]
    fn a_stated_limit_stands_and_a_usual_one_says_what_it_is() {
        let stated = Limit::of(Some(7), 1 << 30).unwrap();
        assert_eq!(
            stated,
            Limit {
                mib: 7,
                usual: false
            }
        );
        let said = stated.too_little(9 << 20).to_string();
        assert!(
            said.contains("at least 9 MiB") && said.ends_with("found 7"),
            "{said}"
        );
        let usual = Limit {
            mib: 7,
            usual: true,
        };
        let said = usual.too_little(9 << 20).to_string();
        assert!(said.contains("the default; --memory 9 allows it"), "{said}");
    }
}
