use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let found = match parse("t", text) {
        Ok(trace) => {
            let mut lines: Vec<String> = trace
                .tenants
                .iter()
                .map(|tenant| {
                    format!(
                        "{} quota {:?} borrow {} cohort {:?} weight {}",
                        tenant.name, tenant.quota, tenant.borrow, tenant.cohort, tenant.weight
                    )
                })
                .collect();
            lines.extend(trace.jobs.iter().map(|job| {
                format!(
                    "{} of {}: {} chips on {:?} at {} for {} limit {:?} least {:?} {:?}",
                    job.name,
                    job.tenant,
                    job.chips,
                    job.nodes,
                    job.submit,
                    job.duration,
                    job.limit,
                    job.least,
                    job.level
                )
            }));
            lines.extend(trace.notes);
            lines.join("\n")
        }
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn times() {
    assert_eq!(timestamp("1970-01-02 00:00:01"), Some(86_401.0));
    assert_eq!(timestamp("2017-10-09 07:01:55"), Some(1_507_532_515.0));
    assert_eq!(timestamp("2024-02-29T12:00:00Z"), Some(1_709_208_000.0));
    assert_eq!(timestamp("2024-13-01 00:00:00"), None);
}

#[test]
fn philly() {
    check(
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,a\n2017-10-09 07:00:55,10.0,16,160,b\n",
        "philly-1 of b: 16 chips on None at 0 for 10 limit None least None None\n\
         philly-0 of a: 1 chips on None at 60 for 66 limit None least None None",
    );
    check(
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09,66.0,1,66.0,a\n",
        "t:2: timestamp: `2017-10-09` is not a date and time such as 2017-10-09 07:01:55",
    );
    check(
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,-1,1,66.0,a\n",
        "t:2: duration: `-1` is not a number from 0",
    );
}

#[test]
fn openb_and_instances() {
    check(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
         p0,1,1,1,460,,LS,Running,10,110,20\np1,1,1,0,0,,BE,Running,10,110,20\np2,1,1,8,1000,,BE,Failed,30,130,\n",
        "p0 of LS: 1 chips on None at 0 for 90 limit None least None None\n\
         p2 of BE: 8 chips on None at 20 for 100 limit None least None None\n\
         1 pods without GPUs are left out\n1 pods that share a GPU count as one whole GPU each\n\
         1 pods were never scheduled; their time counts from their creation",
    );
    check(
        "instance_sn,role,app_name,gpu_request,creation_time,scheduled_time,deletion_time\ni0,HN,a,1,,,50\ni1,HN,a,2,20,30,\n\
         i2,CN,a,0,20,30,\n",
        "i0 of a: 1 chips on None at 0 for 50 limit None least None None\n\
         i1 of a: 2 chips on None at 20 for 20 limit None least None None\n\
         1 instances without GPUs are left out\n1 instances without a deletion time run until the end of the trace",
    );
}

#[test]
fn slurm_accounting() {
    check(
        "JobID|Account|Submit|Elapsed|Timelimit|NNodes|AllocTRES\n\
         1|ml|2024-05-01T12:00:00|01:00:00|1-00:00:00|2|billing=16,cpu=16,gres/npu=16,node=2\n\
         1.batch|ml|2024-05-01T12:00:00|01:00:00||1|cpu=8\n\
         2|ml|2024-05-01T12:00:10|00:00:00|30|1|gres/gpu:h100=8\n\
         3||2024-05-01T12:00:20|00:10:00|30:00|1|gres/gpu:h100=8\n",
        "1 of ml: 16 chips on Some(2) at 0 for 3600 limit Some(86400.0) least None None\n\
         3 of slurm: 8 chips on Some(1) at 20 for 600 limit Some(1800.0) least None None\n\
         1 steps of jobs are left out; their jobs are read\n1 jobs that never ran are left out",
    );
}

const KUEUE: &str = r#"
apiVersion: kueue.x-k8s.io/v1beta1
kind: ClusterQueue
metadata: {name: research}
spec:
  cohort: all
  fairSharing: {weight: "2"}
  resourceGroups:
  - coveredResources: ["huawei.com/Ascend910"]
    flavors:
    - name: a3
      resources:
      - {name: "huawei.com/Ascend910", nominalQuota: 64, borrowingLimit: 32}
---
apiVersion: kueue.x-k8s.io/v1beta1
kind: LocalQueue
metadata: {name: team}
spec: {clusterQueue: research}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: train
  labels: {kueue.x-k8s.io/queue-name: team}
  annotations: {supernode/duration: "2 h"}
spec:
  parallelism: 4
  template:
    metadata:
      annotations: {kueue.x-k8s.io/podset-required-topology: cloud.provider.com/topology-rack}
    spec:
      containers:
      - name: main
        resources: {limits: {huawei.com/Ascend910: 8}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
"#;

#[test]
fn kueue() {
    check(
        KUEUE,
        "research quota Some(64) borrow 32 cohort Some(0) weight 2\n\
         train of research: 32 chips on Some(4) at 0 for 7200 limit None least None Some((\"rack\", true))\n\
         1 objects of kind ConfigMap are left out",
    );
}

#[test]
fn volcano() {
    let job = "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata:\n  name: v\n  annotations: {supernode/duration: 30 min}\n\
               spec:\n  minAvailable: 2\n  queue: q\n  tasks:\n  - replicas: 4\n    template:\n      spec:\n        containers:\n        \
               - resources: {requests: {nvidia.com/gpu: 8}}\n";
    check(job, "v of q: 32 chips on None at 0 for 1800 limit None least Some(16) None");
    check(
        &job.replace("supernode/duration", "other"),
        "t: job `v`: metadata.annotations: a manifest does not say how long a job runs; add the annotation supernode/duration: \"2 h\"",
    );
}

#[test]
fn unknown_formats_are_named() {
    let message = parse("t", "a,b\n1,2\n").expect_err("no format").to_string();
    assert!(message.starts_with("t: `a,b` is no header of a known trace"), "{message}");
}
