//! What a process of the function finds: its ids, its files, its limits, and nothing of the agent's.

use crate::trial::{Sandbox, User};
use std::os::unix::fs::PermissionsExt;

#[test]
fn it_is_awss_user_in_a_world_of_its_own() {
    for &user in User::all() {
        let said = Sandbox::of(user).python(
            "import pwd; print(os.getuid(), os.getgid(), pwd.getpwuid(993).pw_name, socket.gethostname(), os.getppid())",
        );
        assert_eq!(said, "993 990 sbx_user1051 sandbox 0", "{user:?}");
    }
}

#[test]
fn it_sees_its_own_processes_only() {
    for &user in User::all() {
        let said = Sandbox::of(user).python("print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))");
        assert_eq!(said, "[1, 2]", "{user:?}");
    }
}

#[test]
fn it_has_no_capability_and_cannot_get_one() {
    for &user in User::all() {
        let said = Sandbox::of(user).python(
            "wanted = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp:', 'Groups')\n\
             for line in open('/proc/self/status'):\n    if line.startswith(wanted): print(line.strip())",
        );
        for line in said.lines() {
            let (name, value) = line.split_once(':').expect("name: value");
            let expected: &[&str] = match name {
                "NoNewPrivs" => &["1"],
                "Seccomp" => &["2"],
                // An ordinary user's further groups cannot be given up, but mean nothing inside.
                "Groups" if user == User::Root => &[""],
                "Groups" => continue,
                _ => &["0000000000000000"],
            };
            assert!(expected.contains(&value.trim()), "{user:?} {line}");
        }
    }
}

#[test]
fn nothing_of_the_agent_leaks_into_it() {
    for &user in User::all() {
        let said = Sandbox::of(user).python(
            "print(dict(os.environb)); print([n for n in sorted(os.listdir('/proc/self/fd')) if os.path.exists(f'/proc/self/fd/{n}')])",
        );
        let (environment, descriptors) = said.split_once('\n').expect("two lines");
        assert!(environment == "{}" || environment == "{b'LC_CTYPE': b'C.UTF-8'}", "{user:?}");
        assert_eq!(descriptors, "['0', '1', '2']", "{user:?}");
    }
}

#[test]
fn its_limits_are_awss() {
    for &user in User::all() {
        let said = Sandbox::of(user).python(
            "import resource as r; print(*(r.getrlimit(n) for n in (r.RLIMIT_NOFILE, r.RLIMIT_NPROC, r.RLIMIT_CORE)))",
        );
        assert_eq!(said, "(1024, 1024) (1024, 1024) (0, 0)", "{user:?}");
    }
}

#[test]
fn its_code_is_shown_and_cannot_be_changed() {
    for &user in User::all() {
        let mut sandbox = Sandbox::of(user).shows(&[]);
        sandbox.write("code/mine/handler.py", "the code");
        let everyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(sandbox.path("code/mine"), everyone).expect("the test's own folder");
        let script = "print(open('/var/task/handler.py').read()); attempt(lambda: open('/var/task/new', 'w'))";
        assert_eq!(sandbox.python(script), "the code\nkept: EROFS", "{user:?}");
        sandbox.spec.layers.landlock = false;
        assert_eq!(sandbox.python(script), "the code\nkept: EROFS", "{user:?}, without Landlock");
    }
}

#[test]
fn layers_are_merged_and_later_ones_win() {
    for &user in User::all() {
        let sandbox = Sandbox::of(user).shows(&["layer", "upper"]);
        for (name, content) in [("layer/one", "one"), ("layer/both", "lower"), ("upper/both", "upper")] {
            sandbox.write(&format!("code/{name}"), content);
        }
        let said = sandbox.python("print(sorted(os.listdir('/opt')), open('/opt/both').read())");
        assert_eq!(said, "['both', 'one'] upper", "{user:?}");
    }
}

#[test]
fn one_layer_needs_no_merging() {
    for &user in User::all() {
        let sandbox = Sandbox::of(user).shows(&["layer"]);
        sandbox.write("code/layer/one", "one");
        assert_eq!(sandbox.python("print(open('/opt/one').read())"), "one", "{user:?}");
    }
}

#[test]
fn only_what_is_below_the_code_folder_can_be_attached() {
    for &user in User::all() {
        let mut sandbox = Sandbox::of(user).shows(&[]);
        for path in ["elsewhere", "code/../elsewhere", "code/mine/link"] {
            std::fs::create_dir_all(sandbox.path("elsewhere")).expect("the test's own folder");
            let _ = std::os::unix::fs::symlink("/", sandbox.path("code/mine/link"));
            sandbox.attach.as_mut().expect("shows sets it").code = sandbox.path(path);
            let refused = sandbox.command(&[]).expect_err("it must not be attached");
            assert!(refused.contains("cannot show"), "{user:?} {refused}");
        }
    }
}

#[test]
fn its_tmp_is_private_and_sized() {
    for &user in User::all() {
        let sandbox = Sandbox::of(user).shows(&[]);
        let said = sandbox.python(
            "print(os.listdir('/tmp'))\n\
             def fill():\n    with open('/tmp/big', 'wb') as file:\n        for _ in range(32): file.write(bytes(1 << 20))\n\
             attempt(fill); print(os.path.getsize('/tmp/big') >> 20)",
        );
        assert_eq!(said, "[]\nkept: ENOSPC\n16", "{user:?}");
        assert!(!std::path::Path::new("/tmp/big").exists());
    }
}

#[test]
fn it_can_write_nowhere_but_tmp_and_shared_memory() {
    for &user in User::all() {
        let said = Sandbox::of(user).shows(&[]).python(
            "for path in ('/x', '/etc/x', '/opt/x', '/var/x', '/home/sbx_user1051/x', '/usr/x', '/dev/x', '/proc/x'):\n    \
                 attempt(lambda: open(path, 'w'))\n\
             for path in ('/tmp/x', '/dev/shm/x', '/dev/null'):\n    attempt(lambda: open(path, 'w'))",
        );
        let (kept, out): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("kept"));
        assert_eq!((kept.len(), out.len()), (8, 3), "{user:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_an_error_with_its_errno() {
    for &user in User::all() {
        let error = Sandbox::of(user).command(&["/var/task/bootstrap"]).expect_err("there is none");
        assert!(error.contains("/var/task/bootstrap") && error.contains("No such file"), "{error}");
    }
}

/// Languages whose runtimes make the most unusual system calls, where they are installed.
#[test]
fn the_machines_other_runtimes_work_in_it() {
    for &user in User::all() {
        for (program, arguments) in [
            (
                "/usr/bin/node",
                ["-e", "new (require('worker_threads').Worker)('0', {eval: true}).on('exit', () => console.log('up'))"],
            ),
            ("/usr/bin/java", ["-Xmx64m", "-version"]),
        ] {
            if !std::path::Path::new(program).exists() {
                continue;
            }
            let output = Sandbox::of(user).command(&[program, arguments[0], arguments[1]]).expect("it can be made");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && !text.is_empty(), "{user:?} {program}: {:?} {text}", output.status);
        }
    }
}
