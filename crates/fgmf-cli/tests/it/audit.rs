//! Audits: what a folder of evidence says, that it is the same after kills, and that nothing in it
//! can change unseen.

use super::kill::{timed, until_done};
use super::{ok, refused, run, small_model, text};
use fgmf::attest::{PrivateKey, audit_statement, digest_files, digest_of, sign_bundle};
use fgmf::study::{AUDIT, STATEMENT, read_audit};
use fgmf_record::{AuditRecord, CheckOutcome, Proportion};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const POLICY: &str = r#"
title = "Boots and shirts"
suite = "fgsm,pgd-20"
eps = ["4/255", 0.1]
images = 40
calibration_bins = 5
resilience = ["noise-0.05", "jpeg-50", "float16"]

[explanations]
images = 6
explainers = ["saliency"]
metrics = ["sparseness"]

[[threshold]]
figure = "accuracy"
least = 0.1

[[threshold]]
figure = "robust-accuracy@0.1"
most = 1.0
"#;

/// A model, a policy, and the words of an audit of the one by the other.
struct Case {
    model: PathBuf,
    policy: PathBuf,
}

impl Case {
    fn new(folder: &Path, policy: &str) -> Self {
        let case = Self {
            model: small_model(&folder.join("model")),
            policy: folder.join("policy.toml"),
        };
        std::fs::write(&case.policy, policy).unwrap();
        case
    }

    fn words<'a>(&'a self, out: &'a Path) -> Vec<&'a str> {
        let model = text(&self.model);
        let data = "fashion-mnist-mini";
        let policy = text(&self.policy);
        vec![
            "audit",
            model,
            "--data",
            data,
            "--policy",
            policy,
            "--quiet",
            "--out",
            text(out),
        ]
    }

    fn verify<'a>(&'a self, audit: &'a Path, key: &'a Path) -> Vec<&'a str> {
        let model = text(&self.model);
        let data = "fashion-mnist-mini";
        vec![
            "verify",
            text(audit),
            "--key",
            text(key),
            "--model",
            model,
            "--data",
            data,
            "--sample",
            "3",
            "--seed",
            "1",
            "--quiet",
        ]
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let read = |e: std::fs::DirEntry| {
        let name = e.file_name().to_string_lossy().into_owned();
        (name, std::fs::read(e.path()).unwrap())
    };
    entries.map(read).collect()
}

/// Exit 1, and what was printed.
fn faulty(words: &[&str]) -> String {
    let output = run(words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {said}{errors}");
    said
}

#[test]
fn an_audit_is_signed_verified_and_no_byte_of_it_changes_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::new(folder.path(), POLICY);
    let audit = folder.path().join("audit");
    let printed = ok(&case.words(&audit));
    assert!(
        printed.contains("robust-accuracy@0.1") && printed.contains("AML.T0020"),
        "{printed}"
    );
    let record = read_audit(&audit).unwrap();
    checks_of_the_record(&record);

    let key = folder.path().join("door.pem");
    ok(&["keygen", "--out", text(&key), "--quiet"]);
    assert!(
        refused(&["keygen", "--out", text(&key)]).contains("door.pem"),
        "not over a key"
    );
    let public = folder.path().join("door.pub.pem");
    ok(&["sign", text(&audit), "--key", text(&key), "--quiet"]);
    let said = ok(&case.verify(&audit, &public));
    assert!(
        !said.contains("FAULT") && !said.contains("not made"),
        "{said}"
    );
    assert_eq!(said.matches("holds").count(), 10, "{said}");
    let unsigned = ok(&["verify", text(&audit)]);
    assert!(unsigned.contains("anybody may have written"), "{unsigned}");

    // One byte of each file in turn, at its middle: the file is named.
    let whole = files(&audit);
    assert_eq!(whole.len(), 13, "{:?}", whole.keys());
    for (name, bytes) in &whole {
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        std::fs::write(audit.join(name), &changed).unwrap();
        let said = faulty(&["verify", text(&audit), "--key", text(&public)]);
        assert!(said.contains(name.as_str()), "{name}: {said}");
        std::fs::write(audit.join(name), bytes).unwrap();
    }
    // A file that is missing, and one that nobody signed.
    std::fs::remove_file(audit.join("check.py")).unwrap();
    std::fs::write(audit.join("more.txt"), "x").unwrap();
    let said = faulty(&["verify", text(&audit), "--key", text(&public)]);
    assert!(
        said.contains("check.py is missing") && said.contains("more.txt"),
        "{said}"
    );
    assert!(refused(&["sign", text(&audit), "--key", text(&key)]).contains("check.py"));
    std::fs::remove_file(audit.join("more.txt")).unwrap();
    std::fs::write(audit.join("check.py"), &whole["check.py"]).unwrap();

    let other = folder.path().join("other.pem");
    ok(&["keygen", "--out", text(&other), "--quiet"]);
    let other = folder.path().join("other.pub.pem");
    let said = faulty(&["verify", text(&audit), "--key", text(&other)]);
    assert!(said.contains("another key"), "{said}");

    forged(&case, &audit, &public, &record);
}

fn checks_of_the_record(record: &AuditRecord) {
    assert_eq!((record.examples.len(), record.robustness.len()), (40, 2));
    let figure = |id: &str| record.figure(id).unwrap();
    let shares = ["accuracy", "robust-accuracy@4/255", "robust-accuracy@0.1"].map(figure);
    assert!(
        shares.windows(2).all(|w| w[0].count >= w[1].count),
        "a curve never rises"
    );
    for f in &record.figures {
        assert!(
            f.interval[0] <= f.interval[1] && f.value.is_finite(),
            "{f:?}"
        );
        if let Some(count) = f.count {
            let interval = Proportion::new(count, f.n).interval;
            assert_eq!(f.interval[..], interval[..], "{}", f.id);
        }
    }
    let rows: usize = record.confusion.iter().flatten().sum();
    let diagonal: usize = (0..10).map(|k| record.confusion[k][k]).sum();
    assert_eq!((rows, Some(diagonal)), (40, figure("accuracy").count));
    assert!(
        record
            .figures
            .iter()
            .any(|f| f.id == "explanation:saliency:sparseness:attacked")
    );
    assert_eq!(
        record.outcome,
        record.checks.iter().map(|c| c.outcome).max().unwrap()
    );
}

/// A folder that its author signed again after a change for the better: the images tell.
fn forged(case: &Case, audit: &Path, public: &Path, record: &AuditRecord) {
    let mut forged = record.clone();
    let fallen = forged
        .examples
        .iter()
        .position(|e| e.right && !e.robust[1])
        .unwrap();
    forged.examples[fallen].robust[1] = true;
    let figure = forged
        .figures
        .iter_mut()
        .find(|f| f.id == "robust-accuracy@0.1")
        .unwrap();
    let better = Proportion::new(figure.count.unwrap() + 1, figure.n);
    figure.count = Some(better.count);
    (figure.value, figure.interval) = (better.value, better.interval);
    let names: Vec<String> = files(audit)
        .into_keys()
        .filter(|n| n != STATEMENT && n != "bundle.sigstore.json")
        .collect();
    // The check repeats the figure in words; a careful forger changes it, too.
    let check = |r: &mut AuditRecord| {
        let found = r.figure("robust-accuracy@0.1").unwrap().clone();
        let check = r
            .checks
            .iter_mut()
            .find(|c| c.id == "robust-accuracy@0.1")
            .unwrap();
        let [low, high] = found.interval;
        check.found = format!(
            "{:.4}, 95% interval [{low:.4}, {high:.4}], n = {}",
            found.value, found.n
        );
    };
    check(&mut forged);
    let json = serde_json::to_string_pretty(&forged).unwrap() + "\n";
    std::fs::write(audit.join(AUDIT), json).unwrap();
    let digests = digest_files(audit, &names).unwrap();
    let model = digest_of(&case.model).unwrap();
    let statement = audit_statement(&forged, &model, &digests).unwrap();
    std::fs::write(audit.join(STATEMENT), &statement).unwrap();
    let pem = std::fs::read_to_string(audit.with_file_name("door.pem")).unwrap();
    let key = PrivateKey::from_pem(Path::new("door.pem"), &pem).unwrap();
    let bundle = sign_bundle(statement.as_bytes(), &key).unwrap();
    std::fs::write(audit.join("bundle.sigstore.json"), bundle).unwrap();
    let said = faulty(&case.verify(audit, public));
    assert!(said.contains(&format!("image {fallen} stands")), "{said}");
    assert!(said.contains("`robust-accuracy@0.1` counts"), "{said}");
}

#[test]
fn a_killed_audit_ends_at_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::new(folder.path(), POLICY);
    let whole = folder.path().join("whole");
    let took = timed(&case.words(&whole));
    let expected = files(&whole);
    let (mut kills, mut round) = (0, 0);
    while kills < 5 {
        let out = folder.path().join(format!("killed{round}"));
        kills += until_done(&case.words(&out), 500 * round, took);
        assert_eq!(files(&out), expected, "after {kills} kills");
        round += 1;
        assert!(
            round < 30,
            "the process is always done before it can be killed"
        );
    }
    // A finished audit may be made again; that of another policy is refused.
    ok(&case.words(&whole));
    assert_eq!(files(&whole), expected);
    std::fs::write(&case.policy, POLICY.replace("images = 40", "images = 39")).unwrap();
    let said = refused(&case.words(&whole));
    assert!(
        said.contains("another") && said.contains("policy"),
        "{said}"
    );
}

#[test]
fn a_threshold_that_fails_is_exit_1_and_one_on_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let low = POLICY
        .replace("most = 1.0", "least = 0.999")
        .replace("images = 40", "images = 24");
    let case = Case::new(folder.path(), &low);
    let audit = folder.path().join("audit");
    let said = faulty(&case.words(&audit));
    assert!(said.contains("FAILED"), "{said}");
    let record = read_audit(&audit).unwrap();
    assert_eq!(record.outcome, CheckOutcome::Failed);
    let junit = std::fs::read_to_string(audit.join("junit.xml")).unwrap();
    assert!(
        junit.contains("<failure message=\"robust-accuracy@0.1"),
        "{junit}"
    );
    let statement = std::fs::read_to_string(audit.join(STATEMENT)).unwrap();
    assert!(
        statement.contains(r#""failedTests":["robust-accuracy@0.1"]"#),
        "{statement}"
    );
    let same = ok(&["compare", text(&audit), text(&audit)]);
    assert!(
        same.contains("robust-accuracy@4/255") && same.contains("+0.0"),
        "{same}"
    );

    for (from, to, named) in [
        ("figure = \"accuracy\"", "figure = \"acuracy\"", "acuracy"),
        ("fgsm,pgd-20", "fgsm,pdg-20", "pdg-20"),
        ("jpeg-50", "fog", "fog"),
        ("saliency", "salience", "salience"),
    ] {
        std::fs::write(&case.policy, low.replace(from, to)).unwrap();
        let out = folder.path().join(named);
        let said = refused(&case.words(&out));
        assert!(said.contains(named), "{said}");
        assert!(
            files(&out).is_empty(),
            "nothing runs before: {:?}",
            files(&out).keys()
        );
    }
    let said = refused(&["verify", text(folder.path())]);
    assert!(said.contains("statement.json"), "{said}");
}
