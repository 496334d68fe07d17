//! The same against real system calls: a file system in user space with the semantics of `drivers/virt/coco/tsm.c`.

use super::super::*;
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request as Call,
    WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

const FILES: [&str; 4] = ["inblob", "outblob", "provider", "generation"];
/// Inodes of a folder: itself, and its files behind it.
const STEP: u64 = 8;

/// One report of the kernel's.
#[derive(Default)]
struct Item {
    inblob: Vec<u8>,
    written: u32,
    read: u32,
    outblob: Vec<u8>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, u64>,
    items: BTreeMap<u64, Item>,
    next: u64,
    /// Reports begun.
    asked: u64,
    /// Every so many reports somebody else writes in between; every so many the host is busy.
    meddled: Option<u64>,
    busy: Option<u64>,
    /// Nobody makes reports.
    empty: bool,
}

#[derive(Clone, Default)]
struct Tsm(Arc<Mutex<State>>);

impl Tsm {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn is(count: u64, every: Option<u64>) -> bool {
    every.is_some_and(|every| count.is_multiple_of(every))
}

impl State {
    /// What a file says, or the kernel's errno.
    fn contents(&mut self, ino: u64, begins: bool) -> Result<Vec<u8>, Errno> {
        let (folder, file) = (ino / STEP * STEP, (ino % STEP) as usize);
        if self.empty {
            return Err(Errno::ENXIO);
        }
        let item = self.items.get_mut(&folder).ok_or(Errno::ENOENT)?;
        match FILES[file - 1] {
            "provider" => Ok(b"tdx_guest\n".to_vec()),
            "generation" => Ok(format!("{}\n", item.written).into_bytes()),
            "outblob" if item.inblob.is_empty() => Err(Errno::EINVAL),
            "outblob" => {
                if begins {
                    self.asked += 1;
                    if is(self.asked, self.busy) {
                        return Err(Errno::EBUSY);
                    }
                    if is(self.asked, self.meddled) {
                        (item.inblob, item.written) = (vec![0xee; 64], item.written.wrapping_add(1));
                    }
                }
                if item.read != item.written || item.outblob.is_empty() {
                    item.outblob = [&[4, 0][..], &item.inblob].concat();
                    item.read = item.written;
                }
                Ok(item.outblob.clone())
            }
            _ => Err(Errno::EACCES),
        }
    }
}

fn attr(ino: u64) -> FileAttr {
    let folder = ino.is_multiple_of(STEP) || ino == 1;
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if folder { FileType::Directory } else { FileType::RegularFile },
        perm: if folder { 0o755 } else { 0o600 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for Tsm {
    fn lookup(&self, _: &Call, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (state, name) = (self.state(), name.to_string_lossy());
        let found = match parent.0 {
            1 => state.names.get(&*name).copied(),
            folder => FILES.iter().position(|file| *file == name).map(|at| folder + at as u64 + 1),
        };
        match found {
            Some(ino) => reply.entry(&Duration::ZERO, &attr(ino), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Call, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &attr(ino.0));
    }

    fn mkdir(&self, _: &Call, _: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.state();
        if state.empty {
            return reply.error(Errno::ENXIO);
        }
        state.next += STEP;
        let ino = state.next;
        state.items.insert(ino, Item::default());
        state.names.insert(name.to_string_lossy().into_owned(), ino);
        reply.entry(&Duration::ZERO, &attr(ino), Generation(0));
    }

    fn rmdir(&self, _: &Call, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        if let Some(ino) = state.names.remove(&*name.to_string_lossy()) {
            state.items.remove(&ino);
        }
        reply.ok();
    }

    fn open(&self, _: &Call, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Their sizes are not known before they are read, as in configfs.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Call,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().contents(ino.0, offset == 0) {
            Ok(contents) => {
                let rest = contents.get(offset as usize..).unwrap_or_default();
                reply.data(rest.get(..size as usize).unwrap_or(rest));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Call,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        let Some(item) = state.items.get_mut(&(ino.0 / STEP * STEP)) else {
            return reply.error(Errno::ENOENT);
        };
        if ino.0 % STEP != 1 || offset != 0 || data.is_empty() || data.len() > 64 {
            return reply.error(Errno::EINVAL);
        }
        // Another write would make the counter say that nothing was written since the last read.
        if item.read == item.written.wrapping_add(1) {
            return reply.error(Errno::EBUSY);
        }
        (item.inblob, item.written) = (data.to_vec(), item.written.wrapping_add(1));
        reply.written(data.len() as u32);
    }
}

/// The file system, mounted; unmounted when dropped.
struct Mounted {
    tsm: Tsm,
    folder: tempfile::TempDir,
    _session: fuser::BackgroundSession,
}

/// Where nothing can be mounted, the test says so, loudly, and has nothing to do.
fn mounted(change: impl FnOnce(&mut State)) -> Option<Mounted> {
    let tsm = Tsm::default();
    change(&mut tsm.state());
    let folder = tempfile::tempdir().unwrap();
    match fuser::spawn_mount(tsm.clone(), folder.path(), &Config::default()) {
        Ok(session) => Some(Mounted { tsm, folder, _session: session }),
        Err(error) => {
            eprintln!("\n*** skipped: no file system in user space can be mounted here ({error}) ***\n");
            None
        }
    }
}

impl Mounted {
    fn ask(&self, data: [u8; 64]) -> Result<Evidence, GenerateError> {
        ask(&Linux, self.folder.path(), &data).and_then(evidence)
    }
}

fn quote_of(data: [u8; 64]) -> Evidence {
    Evidence::IntelQuote { quote: [&[4, 0][..], &data].concat() }
}

#[test]
fn four_hundred_at_once_get_each_their_own_quote() {
    let Some(mounted) = mounted(|state| (state.meddled, state.busy) = (Some(3), Some(5))) else { return };
    let mounted = &mounted;
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0u16..400)
            .map(|number| {
                scope.spawn(move || {
                    let mut data = [0; 64];
                    data[..2].copy_from_slice(&number.to_be_bytes());
                    (data, mounted.ask(data))
                })
            })
            .collect();
        for asked in asked {
            let (data, made) = asked.join().unwrap();
            assert_eq!(made.unwrap(), quote_of(data));
        }
    });
    let state = mounted.tsm.state();
    assert!(state.asked > 600, "somebody wrote in between, or it was busy: {} tries", state.asked);
    assert!(state.names.is_empty() && state.items.is_empty(), "folders stay behind");
}

#[test]
fn a_kernel_that_is_always_busy_or_always_meddled_with_is_given_up() {
    for change in [(|state: &mut State| state.busy = Some(1)) as fn(&mut State), |state: &mut State| {
        state.meddled = Some(1)
    }] {
        let Some(mounted) = mounted(change) else { return };
        assert!(matches!(mounted.ask([1; 64]), Err(GenerateError::Busy(_))));
        assert!(mounted.tsm.state().names.is_empty());
    }
}

#[test]
fn the_kernels_errors_come_through_as_what_they_mean() {
    let Some(mounted) = mounted(|_| {}) else { return };
    let folder = mounted.folder.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    let errno = |done: std::io::Result<()>| done.err().and_then(|error| error.raw_os_error());
    assert_eq!(errno(Linux.read(&folder.join("outblob")).map(drop)), Some(EINVAL), "nothing was asked");
    assert_eq!(errno(Linux.write(&folder.join("inblob"), &[0; 65])), Some(EINVAL), "too long");
    assert_eq!(Linux.read(&folder.join("generation")).unwrap(), b"0\n");
    Linux.write(&folder.join("inblob"), &[7; 64]).unwrap();
    assert_eq!(Linux.read(&folder.join("generation")).unwrap(), b"1\n");
    assert_eq!(Linux.read(&folder.join("outblob")).unwrap().len(), 66);
    assert_eq!(errno(Linux.read(&folder.join("auxblob")).map(drop)), Some(2), "TDX has none");
    // A whole turn of the counter without a read in between.
    mounted.tsm.state().items.values_mut().for_each(|item| item.written = item.read.wrapping_sub(1));
    assert_eq!(errno(Linux.write(&folder.join("inblob"), &[7; 64])), Some(EBUSY));
    std::fs::remove_dir(&folder).unwrap();
    mounted.tsm.state().empty = true;
    let error = mounted.ask([1; 64]).unwrap_err();
    assert!(matches!(&error, GenerateError::Unavailable(why) if why.contains("ENXIO")), "{error}");
}
