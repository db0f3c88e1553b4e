//! What the control groups of this process (cgroups, versions 1 and 2) leave it of the machine: CPU
//! time, cores, memory; and how many processes the kernel has killed there for want of memory. All
//! of it is read from files. Must not know what the limits are for.
//!
//! `NETWRIGHT_CGROUP_ROOT`, for tests only, names a folder whose `proc` and `sys` are read instead.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable that puts a folder in the place of `/`.
const INSTEAD: &str = "NETWRIGHT_CGROUP_ROOT";

/// Version 1 writes "no limit" as a number of about this size.
const NO_LIMIT: u64 = 1 << 60;

/// What a process may use. None: all that the machine has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// CPU time in seconds a second.
    pub cpus: Option<f64>,
    pub cores: Option<BTreeSet<usize>>,
    pub memory_bytes: Option<u64>,
}

/// How often the kernel has killed for want of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKills {
    /// Names the counter: of which control group, since which start of the machine.
    pub counter: String,
    pub count: u64,
}

/// One control group of this process, in one hierarchy.
#[derive(Debug, PartialEq)]
struct Group {
    /// Where the hierarchy is mounted: no group above it can be seen.
    mount: PathBuf,
    directory: PathBuf,
}

impl Group {
    /// The texts of a file, in this group and in every one above it.
    fn each(&self, file: &str) -> Vec<String> {
        self.directory
            .ancestors()
            .take_while(|directory| directory.starts_with(&self.mount))
            .filter_map(|directory| std::fs::read_to_string(directory.join(file)).ok())
            .collect()
    }
}

/// `/`, or what stands in for it.
pub fn root() -> PathBuf {
    std::env::var_os(INSTEAD).map_or_else(|| "/".into(), PathBuf::from)
}

/// The limits of this process, by the `proc` and `sys` below `root`. A limit of a group above
/// limits too: the smallest counts.
pub fn limits(root: &Path) -> Limits {
    let groups = groups(root);
    Limits {
        cpus: groups.iter().flat_map(cpus).min_by(f64::total_cmp),
        cores: groups.iter().find_map(cores),
        memory_bytes: groups.iter().flat_map(memory).min(),
    }
}

/// Processes that the kernel has killed in this process's control group for want of memory; on a
/// machine without control groups, anywhere.
pub fn oom_kills(root: &Path) -> Option<OomKills> {
    let boot = read(&root.join("proc/sys/kernel/random/boot_id")).unwrap_or_default();
    let boot = boot.trim();
    for group in groups(root) {
        for file in ["memory.events", "memory.oom_control"] {
            let path = group.directory.join(file);
            if let Some(count) = read(&path).and_then(|text| counter(&text)) {
                // A new group of the same name has another inode.
                let inode = path.metadata().map_or(0, |facts| facts.ino());
                let counter = format!("{boot} {} {inode}", path.display());
                return Some(OomKills { counter, count });
            }
        }
    }
    let count = counter(&read(&root.join("proc/vmstat"))?)?;
    let counter = format!("{boot} vmstat");
    Some(OomKills { counter, count })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The line `oom_kill N`.
fn counter(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line?.trim().parse().ok()
}

/// The groups of this process in every hierarchy that is mounted.
fn groups(root: &Path) -> Vec<Group> {
    let memberships = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let memberships: Vec<(&str, &str)> = memberships.lines().filter_map(membership).collect();
    mounts
        .lines()
        .filter_map(mount)
        .filter_map(|mount| {
            let (_, path) = memberships
                .iter()
                .find(|(controllers, _)| mount.has(controllers))?;
            Some(group(root, &mount, path))
        })
        .collect()
}

/// Controllers and path of a line `ID:CONTROLLERS:PATH`; version 2 has no controllers.
fn membership(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

/// A mounted hierarchy.
struct Mount {
    /// The group that the mount shows as its root.
    group: String,
    point: String,
    /// Of version 1: its controllers, among other options.
    options: Option<String>,
}

impl Mount {
    /// True if this hierarchy is the one of these controllers.
    fn has(&self, controllers: &str) -> bool {
        match &self.options {
            None => controllers.is_empty(),
            Some(options) => controllers
                .split(',')
                .any(|controller| options.split(',').any(|option| option == controller)),
        }
    }
}

/// A line of `mountinfo` (proc_pid_mountinfo(5)); None: something else is mounted there.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (group, point) = (unescaped(before.next()?), unescaped(before.next()?));
    let mut after = after.split(' ');
    let options = match after.next()? {
        "cgroup2" => None,
        "cgroup" => Some(after.nth(1)?.to_owned()),
        _ => return None,
    };
    Some(Mount {
        group,
        point,
        options,
    })
}

/// Spaces in paths are written in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\134", "\\")
}

/// Where the group of this path lies. A container sees its own group alone, mounted as the root,
/// whatever the path says.
fn group(root: &Path, mount: &Mount, path: &str) -> Group {
    let below = |folder: &Path, path: &str| folder.join(path.trim_start_matches('/'));
    let point = below(root, &mount.point);
    let inside = Path::new(path).strip_prefix(&mount.group).ok();
    let directory = inside
        .and_then(Path::to_str)
        .filter(|inside| !inside.split('/').any(|part| part == ".."))
        .map_or_else(|| point.clone(), |inside| below(&point, inside));
    // `join` of nothing ends in a slash.
    let directory = directory.components().collect();
    Group {
        mount: point,
        directory,
    }
}

/// Seconds a second, of each group that has a quota.
fn cpus(group: &Group) -> Vec<f64> {
    let ratio = |quota: &str, period: &str| {
        let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        (quota > 0.0 && period > 0.0).then(|| quota / period)
    };
    let of_2 = group.each("cpu.max").into_iter().filter_map(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        ratio(quota, period)
    });
    let quotas = group.each("cpu.cfs_quota_us");
    let periods = group.each("cpu.cfs_period_us");
    let of_1 = quotas
        .iter()
        .zip(&periods)
        .filter_map(|(quota, period)| ratio(quota, period));
    of_2.chain(of_1).collect()
}

/// The cores of the innermost group that names some: they are some of those above it.
fn cores(group: &Group) -> Option<BTreeSet<usize>> {
    [
        "cpuset.cpus.effective",
        "cpuset.effective_cpus",
        "cpuset.cpus",
    ]
    .iter()
    .flat_map(|file| group.each(file))
    .find_map(|text| list(text.trim()))
}

/// `0-2,5`; None: it names none.
fn list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?);
    }
    (!cores.is_empty()).then_some(cores)
}

/// Bytes, of each group that has a limit.
fn memory(group: &Group) -> Vec<u64> {
    // Of version 1 also what the groups above a container allow, which it cannot see.
    let of_all = group.each("memory.stat").into_iter().filter_map(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("hierarchical_memory_limit "));
        line.map(str::to_owned)
    });
    ["memory.max", "memory.limit_in_bytes"]
        .iter()
        .flat_map(|file| group.each(file))
        .chain(of_all)
        .filter_map(|text| text.trim().parse().ok())
        .filter(|bytes| (1..NO_LIMIT).contains(bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    const MOUNT_OF_2: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    /// As Docker shows a container of version 1: each hierarchy's root is the container's group.
    fn mounts_of_1(group: &str) -> String {
        ["cpu,cpuacct", "cpuset", "memory"]
            .map(|name| {
                format!("40 39 0:30 {group} /sys/fs/cgroup/{name} ro,nosuid master:9 - cgroup cgroup rw,{name}\n")
            })
            .concat()
    }

    fn set(cores: &[usize]) -> BTreeSet<usize> {
        cores.iter().copied().collect()
    }

    #[test]
    fn version_2_limits_by_the_smallest_along_the_path() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/user.slice/job/step\n"),
            ("proc/self/mountinfo", MOUNT_OF_2),
            ("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/user.slice/cpuset.cpus.effective", "0-3\n"),
            ("sys/fs/cgroup/user.slice/job/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/user.slice/job/memory.max", "314572800\n"),
            ("sys/fs/cgroup/user.slice/job/cpuset.cpus.effective", "\n"),
            ("sys/fs/cgroup/user.slice/job/step/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/user.slice/job/step/memory.max", "max\n"),
            (
                "sys/fs/cgroup/user.slice/job/step/cpuset.cpus.effective",
                "1,3\n",
            ),
            // Of a neighbour.
            ("sys/fs/cgroup/system.slice/memory.max", "1\n"),
        ]);
        let expected = Limits {
            cpus: Some(1.5),
            cores: Some(set(&[1, 3])),
            memory_bytes: Some(300 << 20),
        };
        assert_eq!(limits(root.path()), expected);
    }

    #[test]
    fn a_container_of_version_2_sees_its_group_as_the_root() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", MOUNT_OF_2),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "314572800\n"),
            ("sys/fs/cgroup/cpuset.cpus.effective", "2\n"),
        ]);
        let expected = Limits {
            cpus: Some(0.5),
            cores: Some(set(&[2])),
            memory_bytes: Some(300 << 20),
        };
        assert_eq!(limits(root.path()), expected);
    }

    #[test]
    fn a_container_of_version_1_sees_its_group_as_the_root_of_each_hierarchy() {
        let root = tree(&[
            (
                "proc/self/cgroup",
                "4:memory:/docker/ab\n3:cpuset:/docker/ab\n2:cpu,cpuacct:/docker/ab\n0::/docker/ab\n",
            ),
            ("proc/self/mountinfo", &mounts_of_1("/docker/ab")),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "50000\n"),
            ("sys/fs/cgroup/cpuset/cpuset.cpus", "0-1,4-5\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "cache 0\nhierarchical_memory_limit 314572800\n",
            ),
        ]);
        let expected = Limits {
            cpus: Some(2.0),
            cores: Some(set(&[0, 1, 4, 5])),
            memory_bytes: Some(300 << 20),
        };
        assert_eq!(limits(root.path()), expected);
    }

    #[test]
    fn version_1_on_the_machine_itself_limits_by_the_smallest_along_the_path() {
        let root = tree(&[
            (
                "proc/self/cgroup",
                "4:memory:/a/b\n2:cpu,cpuacct:/a\n1:name=systemd:/x\n",
            ),
            ("proc/self/mountinfo", &mounts_of_1("/")),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            (
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "1000000000\n",
            ),
            (
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "2000000000\n",
            ),
        ]);
        let expected = Limits {
            cpus: None,
            cores: None,
            memory_bytes: Some(1_000_000_000),
        };
        assert_eq!(limits(root.path()), expected);
    }

    #[test]
    fn without_limits_or_with_files_that_say_nothing_there_is_none() {
        let silent = tree(&[
            ("proc/self/cgroup", "0::/../other\nrubbish\n"),
            ("proc/self/mountinfo", MOUNT_OF_2),
            ("sys/fs/cgroup/cpu.max", "max\n"),
            ("sys/fs/cgroup/memory.max", "0\n"),
            ("sys/fs/cgroup/cpuset.cpus.effective", "0-x\n"),
        ]);
        let empty = tempfile::tempdir().unwrap();
        for root in [silent.path(), empty.path()] {
            assert_eq!(limits(root), Limits::default());
        }
    }

    #[test]
    fn kills_for_want_of_memory_are_those_of_the_own_group() {
        let boot = ("proc/sys/kernel/random/boot_id", "b00t\n");
        let of_2 = tree(&[
            boot,
            ("proc/self/cgroup", "0::/job\n"),
            ("proc/self/mountinfo", MOUNT_OF_2),
            (
                "sys/fs/cgroup/job/memory.events",
                "low 0\noom 5\noom_kill 3\noom_group_kill 0\n",
            ),
        ]);
        let found = oom_kills(of_2.path()).unwrap();
        assert_eq!(found.count, 3);
        assert!(
            found.counter.starts_with("b00t ") && found.counter.contains("/job/memory.events ")
        );
        let of_1 = tree(&[
            boot,
            ("proc/self/cgroup", "4:memory:/job\n"),
            ("proc/self/mountinfo", &mounts_of_1("/")),
            (
                "sys/fs/cgroup/memory/job/memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
            ),
        ]);
        assert_eq!(oom_kills(of_1.path()).unwrap().count, 7);
        let none = tree(&[boot, ("proc/vmstat", "nr_free_pages 1\noom_kill 2\n")]);
        let expected = OomKills {
            counter: "b00t vmstat".into(),
            count: 2,
        };
        assert_eq!(oom_kills(none.path()), Some(expected));
        assert_eq!(oom_kills(tempfile::tempdir().unwrap().path()), None);
    }
}
