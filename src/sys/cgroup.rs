//! Control groups: what all processes of one service instance together may use, and a hold on all of them.
//!
//! Both generations are served, and a machine that has both: a controller is used where it is, as a hierarchy of its own
//! (v1) or in the common one (v2). Below the group that we run in stands one for this supervisor, `torus-PID`, and in it
//! one for each instance. See cgroups(7) and the kernel's cgroup-v1/ and cgroup-v2.rst.
//!
//! Nothing here is an error: what the machine does not give is told in sentences.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::machine::may_write;

/// Rounds of killing what a group has; each finds fewer, unless it forks faster than we kill.
const KILL_ROUNDS_MAX: usize = 32;
/// Tries to remove a group whose members were killed, with a pause after each; then it is left for a later supervisor.
const REMOVE_TRIES_MAX: usize = 250;
const REMOVE_PAUSE: Duration = Duration::from_millis(1);
/// Microseconds of the period that CPU time is shared out in, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// From here on a limit of memory is none.
const UNLIMITED_FROM: u64 = 1 << 62;
/// Where v2 has us wait, since a group with controlled children may have no process of its own.
const OWN_GROUP: &str = "supervisor";

/// What all processes of a group together may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory and swap.
    pub memory_bytes_max: Option<u64>,
    /// Hundredths of one CPU.
    pub cpu_percent_max: Option<u32>,
    /// Processes and threads.
    pub pids_max: Option<u32>,
}

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// The key that asks for it.
    fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory_bytes_max",
            Self::Cpu => "cpu_percent_max",
            Self::Pids => "pids_max",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Generation {
    One,
    Two,
}

/// The groups of this supervisor, one in each hierarchy that has a controller which is needed. They go with this.
#[derive(Debug, Default)]
pub struct Cgroups {
    trees: Vec<Tree>,
    missing: Vec<(Controller, String)>,
}

#[derive(Debug)]
struct Tree {
    generation: Generation,
    controllers: Vec<Controller>,
    directory: PathBuf,
}

/// The group of one instance. It goes with this, and so does whoever is in it.
#[derive(Debug)]
pub struct Group {
    directories: Vec<PathBuf>,
    /// What does not hold, in sentences.
    pub warnings: Vec<String>,
}

/// How control groups look from here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Survey {
    /// The hierarchies that we have a place in.
    pub trees: Vec<SurveyTree>,
    /// Bytes of memory that all in our group may use.
    pub memory_bytes_max: Option<u64>,
    /// Processes and threads that all in our group may be.
    pub pids_max: Option<u64>,
}

/// One hierarchy of control groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveyTree {
    /// 1 or 2.
    pub version: u8,
    /// The controllers that it has for our group.
    pub controllers: Vec<String>,
    /// Whether groups can be made below ours.
    pub writable: bool,
}

/// What [`Cgroups`] are, written down: another program of this process goes on with them. Nothing goes with this.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CgroupsRecord {
    trees: Vec<(Generation, Vec<Controller>, PathBuf)>,
    missing: Vec<(Controller, String)>,
}

/// What a [`Group`] is, written down likewise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    directories: Vec<PathBuf>,
    warnings: Vec<String>,
}

impl Limits {
    /// What is limited at all.
    fn controllers(&self) -> Vec<Controller> {
        let asked = [
            (Controller::Memory, self.memory_bytes_max.is_some()),
            (Controller::Cpu, self.cpu_percent_max.is_some()),
            (Controller::Pids, self.pids_max.is_some()),
        ];
        asked.into_iter().filter_map(|(controller, asked)| asked.then_some(controller)).collect()
    }

    /// The files to write for one controller. The last word of each says whether the limit holds without it.
    fn files(&self, controller: Controller, generation: Generation) -> Vec<(&'static str, String, bool)> {
        match (controller, generation) {
            (Controller::Memory, Generation::One) => self.memory_bytes_max.map_or_else(Vec::new, |bytes| {
                vec![
                    ("memory.limit_in_bytes", bytes.to_string(), true),
                    ("memory.memsw.limit_in_bytes", bytes.to_string(), false),
                ]
            }),
            (Controller::Memory, Generation::Two) => self.memory_bytes_max.map_or_else(Vec::new, |bytes| {
                vec![
                    ("memory.max", bytes.to_string(), true),
                    ("memory.swap.max", "0".to_owned(), false),
                    // A service that lost one process at random is worse than one that starts anew.
                    ("memory.oom.group", "1".to_owned(), false),
                ]
            }),
            (Controller::Cpu, generation) => self.cpu_percent_max.map_or_else(Vec::new, |percent| {
                let quota = u64::from(percent) * CPU_PERIOD_US / 100;
                match generation {
                    Generation::One => vec![
                        ("cpu.cfs_period_us", CPU_PERIOD_US.to_string(), true),
                        ("cpu.cfs_quota_us", quota.to_string(), true),
                    ],
                    Generation::Two => vec![("cpu.max", format!("{quota} {CPU_PERIOD_US}"), true)],
                }
            }),
            (Controller::Pids, Generation::One | Generation::Two) => {
                self.pids_max.map_or_else(Vec::new, |count| vec![("pids.max", count.to_string(), true)])
            }
        }
    }
}

impl Cgroups {
    /// Makes our groups for all that any of `limits` needs. To be called before anything is started: with v2 we move,
    /// and what is started earlier stays where we were.
    pub fn prepare<'a>(limits: impl IntoIterator<Item = &'a Limits>) -> Self {
        let mut needed: Vec<Controller> = Vec::new();
        for controller in limits.into_iter().flat_map(Limits::controllers) {
            if !needed.contains(&controller) {
                needed.push(controller);
            }
        }
        let mut groups = Self::default();
        if needed.is_empty() {
            return groups;
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let hierarchies = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        for controller in needed {
            groups.prepare_controller(controller, &hierarchies).unwrap_or_else(|reason| {
                groups.missing.push((controller, reason));
            });
        }
        groups
    }

    fn prepare_controller(&mut self, controller: Controller, hierarchies: &[Hierarchy]) -> Result<(), String> {
        let name = controller.name();
        let hierarchy = hierarchies
            .iter()
            .find(|hierarchy| hierarchy.has(name))
            .ok_or_else(|| format!("this machine offers no cgroup controller {name}"))?;
        let directory = hierarchy.own.join(format!("torus-{}", getpid()));
        if let Some(tree) = self.trees.iter_mut().find(|tree| tree.directory == directory) {
            if tree.generation == Generation::Two {
                enable(&hierarchy.own, &directory, controller)?;
            }
            tree.controllers.push(controller);
            return Ok(());
        }
        remove_stale(&hierarchy.own);
        make(&directory)?;
        let tree = Tree { generation: hierarchy.generation, controllers: vec![controller], directory };
        if hierarchy.generation == Generation::Two
            && let Err(reason) = move_aside(&hierarchy.own, &tree.directory)
                .and_then(|()| enable(&hierarchy.own, &tree.directory, controller))
        {
            drop(tree);
            return Err(reason);
        }
        self.trees.push(tree);
        Ok(())
    }

    /// Writes the groups down.
    pub fn record(&self) -> CgroupsRecord {
        let of = |tree: &Tree| (tree.generation, tree.controllers.clone(), tree.directory.clone());
        CgroupsRecord { trees: self.trees.iter().map(of).collect(), missing: self.missing.clone() }
    }

    /// Goes on with groups that the program before us made.
    pub fn adopt(record: CgroupsRecord) -> Self {
        let tree = |(generation, controllers, directory)| Tree { generation, controllers, directory };
        Self { trees: record.trees.into_iter().map(tree).collect(), missing: record.missing }
    }

    /// A group for an instance.
    pub fn group(&self, name: &str, limits: &Limits) -> Group {
        let mut group = Group { directories: Vec::new(), warnings: Vec::new() };
        for controller in limits.controllers() {
            let key = controller.key();
            let held = match self.trees.iter().find(|tree| tree.controllers.contains(&controller)) {
                Some(tree) => group.hold(&tree.directory.join(name), &limits.files(controller, tree.generation)),
                None => {
                    let reason = self.missing.iter().find(|(missing, _)| *missing == controller);
                    Err(reason.map_or_else(|| "it was not prepared".to_owned(), |(_, reason)| reason.clone()))
                }
            };
            held.unwrap_or_else(|reason| group.warnings.push(format!("{key} does not hold: {reason}")));
        }
        group
    }
}

impl Group {
    /// Writes the group down.
    pub fn record(&self) -> GroupRecord {
        GroupRecord { directories: self.directories.clone(), warnings: self.warnings.clone() }
    }

    /// Goes on with a group that the program before us made.
    pub fn adopt(record: GroupRecord) -> Self {
        Self { directories: record.directories, warnings: record.warnings }
    }

    fn hold(&mut self, directory: &Path, files: &[(&str, String, bool)]) -> Result<(), String> {
        if !self.directories.iter().any(|known| known == directory) {
            make(directory)?;
            self.directories.push(directory.to_owned());
        }
        for (file, value, needed) in files {
            let written = write(&directory.join(file), value);
            if *needed {
                written?;
            }
        }
        Ok(())
    }

    /// Whether it is still there: others may remove what is empty.
    pub fn exists(&self) -> bool {
        self.directories.iter().all(|directory| directory.exists())
    }

    /// The files that a process writes itself into.
    pub fn entrances(&self) -> io::Result<Vec<File>> {
        let open = |directory: &PathBuf| OpenOptions::new().write(true).open(directory.join("cgroup.procs"));
        self.directories.iter().map(open).collect()
    }

    /// Who is in it, groups within it included.
    pub fn members(&self) -> Vec<Pid> {
        let mut members: Vec<Pid> = self.directories.iter().flat_map(|directory| members(directory)).collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Kills all who are in it, whatever they did to leave their process group. At once where the kernel can (v2, from
    /// 5.14), else round by round until nobody is left or only such as cannot die now.
    pub fn kill(&self) {
        if self.directories.iter().any(|directory| write(&directory.join("cgroup.kill"), "1").is_ok()) {
            return;
        }
        for _ in 0..KILL_ROUNDS_MAX {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for member in members {
                let _ = kill(member, Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Group {
    /// The dead leave their group a moment after they were killed.
    fn drop(&mut self) {
        for directory in &self.directories {
            for _ in 0..REMOVE_TRIES_MAX {
                match fs::remove_dir(directory) {
                    Err(cause) if cause.kind() == io::ErrorKind::ResourceBusy => {
                        self.kill();
                        thread::sleep(REMOVE_PAUSE);
                    }
                    _ => break,
                }
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.generation == Generation::Two {
            // The way of `move_aside` back.
            let own = self.directory.parent().unwrap_or(&self.directory);
            for directory in [&*self.directory, own] {
                for controller in &self.controllers {
                    let _ = write(&directory.join("cgroup.subtree_control"), &format!("-{}", controller.name()));
                }
            }
            let _ = write(&own.join("cgroup.procs"), "0");
            let _ = fs::remove_dir(self.directory.join(OWN_GROUP));
        }
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Clears the way for controllers below the group that we run in: if we are alone there, we move into a leaf. Others
/// are not ours to move; only the root of all groups may have both.
fn move_aside(own: &Path, directory: &Path) -> Result<(), String> {
    let inside = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    if inside.trim() == getpid().to_string() {
        let leaf = directory.join(OWN_GROUP);
        make(&leaf)?;
        write(&leaf.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Hands a controller down to the groups of instances.
fn enable(own: &Path, directory: &Path, controller: Controller) -> Result<(), String> {
    let word = format!("+{}", controller.name());
    for directory in [own, directory] {
        let busy = |reason: String| match reason.ends_with("busy") {
            true => format!("{reason}; other processes run in that group"),
            false => reason,
        };
        write(&directory.join("cgroup.subtree_control"), &word).map_err(busy)?;
    }
    Ok(())
}

/// Removes the empty groups of supervisors that were killed before they could.
fn remove_stale(own: &Path) {
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("torus-")?.parse::<i32>().ok());
        if pid.is_none_or(|pid| pid == getpid().as_raw() || Path::new("/proc").join(pid.to_string()).exists()) {
            continue;
        }
        for inner in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(inner.path());
        }
        let _ = fs::remove_dir(entry.path());
    }
}

fn members(directory: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process that this namespace does not see.
    let own = text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).map(Pid::from_raw);
    let inner = fs::read_dir(directory).into_iter().flatten().flatten();
    let inner = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own.chain(inner.flat_map(|entry| members(&entry.path()))).filter(|pid| *pid != getpid()).collect()
}

fn make(directory: &Path) -> Result<(), String> {
    match fs::create_dir(directory) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("cannot make {}: {}", directory.display(), reason(&cause)))
        }
        _ => Ok(()),
    }
}

/// These files take a value in one write, and are never made.
fn write(file: &Path, value: &str) -> Result<(), String> {
    let written = OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut open| io::Write::write_all(&mut open, value.as_bytes()));
    written.map_err(|cause| format!("cannot write {value} to {}: {}", file.display(), reason(&cause)))
}

/// The system's words without their number.
fn reason(cause: &io::Error) -> String {
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Looks at the groups that we run in, and changes nothing.
pub fn survey() -> io::Result<Survey> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mut survey = Survey::default();
    for hierarchy in hierarchies(&mounts, &groups) {
        let (version, controllers) = match hierarchy.generation {
            Generation::One => {
                // It is mounted with more than controllers.
                let is_controller =
                    |word: &&String| !matches!(word.as_str(), "rw" | "ro" | "none" | "xattr") && !word.contains('=');
                (1, hierarchy.controllers.iter().filter(is_controller).cloned().collect())
            }
            Generation::Two => (2, words(&hierarchy.own.join("cgroup.controllers"))),
        };
        let lowest = |known: Option<u64>, file: &str| known.into_iter().chain(limit(&hierarchy.own, file)).min();
        let memory = if version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        survey.memory_bytes_max = lowest(survey.memory_bytes_max, memory);
        survey.pids_max = lowest(survey.pids_max, "pids.max");
        survey.trees.push(SurveyTree { version, controllers, writable: may_write(&hierarchy.own) });
    }
    Ok(survey)
}

/// The lowest limit of a group and those above it.
fn limit(own: &Path, file: &str) -> Option<u64> {
    let groups = own.ancestors().take_while(|group| group.join("cgroup.procs").exists());
    let known = groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok());
    // The first generation says "no limit" by the largest number of whole pages.
    known.filter(|limit| *limit < UNLIMITED_FROM).min()
}

fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// One hierarchy, and the group in it that we run in.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    generation: Generation,
    /// Of v1, what it is mounted with; of v2, empty.
    controllers: Vec<String>,
    own: PathBuf,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        match self.generation {
            Generation::One => self.controllers.iter().any(|known| known == controller),
            Generation::Two => {
                let offered = fs::read_to_string(self.own.join("cgroup.controllers")).unwrap_or_default();
                offered.split_whitespace().any(|known| known == controller)
            }
        }
    }
}

/// What is mounted (proc_pid_mountinfo(5)) and where in it we are (cgroups(7), /proc/pid/cgroup).
fn hierarchies(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    let path_of = |generation, controllers: &[String]| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let mut names = names.split(',');
            let is_it = match generation {
                Generation::One => names.any(|name| controllers.iter().any(|controller| controller == name)),
                Generation::Two => number == "0",
            };
            is_it.then_some(path)
        })
    };
    let hierarchy = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let (root, point) = (unescaped(mount.get(3)?), unescaped(mount.get(4)?));
        let mut kind = kind.split(' ');
        let (generation, options) = match kind.next()? {
            "cgroup" => (Generation::One, kind.nth(1)?),
            "cgroup2" => (Generation::Two, ""),
            _ => return None,
        };
        let controllers: Vec<String> = options.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        // A group above what is mounted cannot be reached.
        let below = Path::new(path_of(generation, &controllers)?).strip_prefix(root).ok()?.to_owned();
        let is_inside = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        is_inside.then(|| Hierarchy { generation, controllers, own: Path::new(&point).join(below) })
    };
    mounts.lines().filter_map(hierarchy).collect()
}

/// Space, tab, line feed and backslash are octal in mountinfo.
fn unescaped(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_group_is_found_in_each_hierarchy() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 /docker/1 /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 master:2 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /elsewhere /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw,nsdelegate";
        let groups = "9:memory:/docker/1/inner\n8:cpu,cpuacct:/\n7:pids:/other\n0::/a:b\n";
        let found = hierarchies(mounts, groups);
        let shown: Vec<_> =
            found.iter().map(|found| (found.generation, found.own.to_string_lossy().into_owned())).collect();
        let expected = [
            (Generation::One, "/sys/fs/cgroup/memory/inner"),
            (Generation::One, "/sys/fs/cgroup/cpu,cpuacct/"),
            (Generation::Two, "/sys/fs/cgroup/a b/a:b"),
        ];
        assert_eq!(shown, expected.map(|(generation, path)| (generation, path.to_owned())));
        assert!(found[1].has("cpu") && !found[1].has("memory"));
    }

    #[test]
    fn each_generation_has_its_own_words() {
        let limits = Limits { memory_bytes_max: Some(4096), cpu_percent_max: Some(150), pids_max: Some(7) };
        let words = |generation| -> Vec<String> {
            let files = limits.controllers().into_iter().flat_map(|controller| limits.files(controller, generation));
            files.map(|(file, value, _)| format!("{file}={value}")).collect()
        };
        let first = [
            "memory.limit_in_bytes=4096",
            "memory.memsw.limit_in_bytes=4096",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "pids.max=7",
        ];
        let second =
            ["memory.max=4096", "memory.swap.max=0", "memory.oom.group=1", "cpu.max=150000 100000", "pids.max=7"];
        assert_eq!(words(Generation::One), first);
        assert_eq!(words(Generation::Two), second);
        assert_eq!(Limits::default().controllers(), []);
    }

    #[test]
    fn a_machine_without_cgroups_is_told_key_by_key() {
        let limits = Limits { memory_bytes_max: Some(1), cpu_percent_max: None, pids_max: Some(1) };
        let mut groups = Cgroups::default();
        for controller in limits.controllers() {
            let reason = groups.prepare_controller(controller, &[]).unwrap_err();
            groups.missing.push((controller, reason));
        }
        let expected = [
            "memory_bytes_max does not hold: this machine offers no cgroup controller memory",
            "pids_max does not hold: this machine offers no cgroup controller pids",
        ];
        assert_eq!(groups.group("a-1", &limits).warnings, expected);
    }
    #[test]
    fn a_group_is_killed_whole_whatever_its_members_did_and_then_removed() {
        let read = |path| fs::read_to_string(path).unwrap();
        let found = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        // Where there is no cgroup, or none that we may change, that is told.
        for hierarchy in
            found.iter().filter(|hierarchy| hierarchy.generation == Generation::Two || hierarchy.has("pids"))
        {
            let directory = hierarchy.own.join(format!("torus-unit-{}", getpid()));
            if let Err(reason) = make(&directory) {
                assert!(reason.starts_with("cannot make "), "{reason}");
                continue;
            }
            let inner = directory.join("inner");
            make(&inner).unwrap();
            let script =
                "echo 0 > $0/cgroup.procs; setsid sleep 1000 & echo 0 > $0/inner/cgroup.procs; exec sleep 1000";
            let mut child = std::process::Command::new("sh").args(["-c", script]).arg(&directory).spawn().unwrap();
            while !read_inner(&inner).contains(&child.id().to_string()) {
                thread::sleep(REMOVE_PAUSE);
            }
            let group = Group { directories: vec![directory.clone()], warnings: Vec::new() };
            assert_eq!(group.members().len(), 2, "{}", directory.display());
            group.kill();
            child.wait().unwrap();
            while fs::remove_dir(&inner).is_err() {
                thread::sleep(REMOVE_PAUSE);
            }
            drop(group);
            assert!(!directory.exists(), "{}", directory.display());
        }
    }

    fn read_inner(inner: &Path) -> String {
        fs::read_to_string(inner.join("cgroup.procs")).unwrap()
    }
}
