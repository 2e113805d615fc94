use super::follow;
use crate::inputs::Inputs;
use std::fmt::Write as _;

/// Every command of a script, or why it is refused.
fn commands(text: &str, inputs: &Inputs<'_>) -> String {
    let mut shell = match follow("t.sh", text, inputs) {
        Ok(shell) => shell,
        Err(error) => return error.to_string(),
    };
    let mut out = String::new();
    for ran in shell.commands.clone() {
        let open = shell.open_conditions(&ran.words);
        let words = shell.resolve(&ran.words, &|_| 0).expect("small");
        let words = words.join(" ").replace(['\u{FDD0}', '\u{FDD1}', '\u{FDD2}'], "?");
        let _ = write!(out, "{}: {words}", ran.line);
        if !open.is_empty() || !ran.guards.is_empty() {
            let _ = write!(out, " [open {open:?} guards {:?}]", ran.guards);
        }
        out.push('\n');
    }
    out
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(commands(text, &Inputs::default()).trim_end(), expected, "{text}");
}

#[test]
fn quotes_variables_and_arrays() {
    check("A='x  y'\np --a \"$A\" $A z'$A'", "2: p --a x  y x y z$A");
    check("A=(--x 1 # one\n --y 2)\nA+=(--z)\np \"${A[@]}\" ${#A[@]}", "4: p --x 1 --y 2 --z 5");
    check("declare -A M=([8B]=32 [70B]=80)\nS=70B\np --l ${M[$S]}", "3: p --l 80");
    check("X=/a/b.sh\np --n ${X##*/} ${X%.sh} ${Y:-d} ${X/b/c} ${X:1:1}", "2: p --n b.sh /a/b d /a/c.sh a");
    check("N=3\np --n $((N*2+1)) $(( N > 2 ? 8 : 1 ))", "2: p --n 7 8");
}

#[test]
fn comments_end_where_bash_ends_them() {
    check("p --a 1 \\\n  # --b 2 \\\n  --c 3\n", "1: p --a 1\n3: --c 3");
    check("#   --old \\\nH=4 # it isn't\np --h $H", "3: p --h 4");
}

#[test]
fn conditions_that_are_known_are_evaluated() {
    check("S=30b\nif [[ $S == 7b ]]; then L=1\nelif [[ $S == 3*b ]]; then L=2\nfi\np --l $L", "5: p --l 2");
    check("case 8B in 7B|8B) L=1;; *) L=2;; esac; p --l $L", "1: p --l 1");
    check("N=4\n[ $N -gt 2 ] && A=1 || A=2\np --a $A", "3: p --a 1");
    check("if (( 3 > 4 )); then p --a; else p --b; fi", "1: p --b");
}

#[test]
fn conditions_that_are_not_known_stay_open() {
    check("if [ $S = a ]; then L=1; else L=2; fi\np --l $L", "2: p --l 1 [open {0} guards []]");
    check("if [ -f x ]; then p --a; fi", "1: p --a [open {} guards [(0, 0)]]");
    check("if [ $# -lt 2 ]; then exit 1; fi\np --a", "2: p --a");
    check("if [ $S = a ]; then L=1; else L=1; fi\np --l $L", "2: p --l 1");
    check("if [ $S = a ]; then L=1; else L=2; fi\np --l $((L * 2))", "2: p --l 2 [open {0} guards []]");
}

#[test]
fn functions_loops_and_inner_scripts() {
    check("f() { local a=$1; p --a $a --b ${2:-x}; }\nf 1\nf 2 y", "1: p --a 1 --b x\n1: p --a 2 --b y");
    check("A=\nfor i in {1..3}; do A=\"$A $i\"; done\np --a $A", "3: p --a 1 2 3");
    check("for ((i=0;i<3;i++)); do N=$i; done\np --n $N", "2: p --n 2");
    check("C=\"p --x 1\"\nsrun -N 4 bash -c \"$C --y \\$Z\"", "2: srun -N 4 p --x 1 --y ?Z?");
    check("sbatch <<EOF\n#SBATCH --nodes=3\np --n \\$SLURM_NNODES\nEOF", "3: sbatch p --n 3");
    check(
        "set -- a --b c\nwhile [ $# -gt 0 ]; do case $1 in --b) B=$2; shift;; esac; shift; done\np --b $B",
        "3: p --b c",
    );
    check("cat <<EOF > c.json\n{\"a\": 1}\nEOF\nX=$(cat c.json)\np --c \"$X\"", "5: p --c {\"a\": 1}");
    check("N=$(f -c \"a; b(c)\")\nR=\"p --n $N\"\neval $R", "3: p --n ?=N?");
    check("eval \"p --n $(f 'a; b(')\"", "1: p --n ??f\u{e020}\u{e027}a\u{e03b}\u{e020}b\u{e028}\u{e027}?");
    check("get() { case $1 in 8) echo 32;; esac; }\np --l $(get 8)", "2: p --l 32");
}

#[test]
fn what_goes_too_far_is_refused() {
    let bomb = "A=xxxxxxxxxxxxxxxx\n".to_owned() + &"A=\"$A$A\"\n".repeat(40);
    assert!(commands(&bomb, &Inputs::default()).contains("goes beyond 16 MiB"));
    let nested = format!("p --a {}x{}", "${A:-".repeat(3000), "}".repeat(3000));
    assert!(commands(&nested, &Inputs::default()).contains("goes beyond"), "nesting");
    assert!(commands("f() { f; }\nf", &Inputs::default()).contains("goes beyond 40 levels"));
    assert!(commands("while true; do p --a; done; p --b", &Inputs::default()).contains("p --b"));
    assert!(commands("if then (", &Inputs::default()).contains("t.sh:1: cannot be read"));
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[-a-z$(){}\\[\\]@=+\"'# \\n;\\\\0-9%*/<>&|!`]{0,200}") {
        let _ = commands(&text, &Inputs::default());
    }
}
