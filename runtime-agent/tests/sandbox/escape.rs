use crate::trial::{Sandbox, User};

#[test]
fn a_program_runs_as_the_functions_user() {
    for &user in User::all() {
        let said = Sandbox::of(user).python("import os; print(os.getuid(), os.getgid(), os.getpid(), os.listdir('/'))");
        assert_eq!(said.text, "", "{user:?} {said:?}");
    }
}
