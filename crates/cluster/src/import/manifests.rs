//! Kueue and Volcano objects: `ClusterQueue`, `Queue` (quotas and weights), `batch/v1` jobs with a queue label, and Volcano
//! jobs. How long a job runs is not in its manifest: the annotation `supernode/duration` says, or `activeDeadlineSeconds`.

use super::{ClusterError, Imported, Trace};
use crate::job::Tenant;
use serde::Deserialize;
use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use units::Seconds;

const QUEUE: &str = "kueue.x-k8s.io/queue-name";
const REQUIRED: &str = "kueue.x-k8s.io/podset-required-topology";
const PREFERRED: &str = "kueue.x-k8s.io/podset-preferred-topology";

pub(super) fn read(file: &str, text: &str) -> Result<Trace, ClusterError> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document)
            .map_err(|error| ClusterError::Syntax { file: file.to_owned(), message: error.to_string() })?;
        match value.get("items").and_then(Value::as_sequence) {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(value),
        }
    }
    let mut trace = Trace::default();
    let mut cohorts: Vec<String> = Vec::new();
    let mut queues: BTreeMap<String, String> = BTreeMap::new();
    let mut others: BTreeMap<String, u32> = BTreeMap::new();
    for object in &objects {
        let kind = text_at(object, &["kind"]).unwrap_or("").to_owned();
        let group = text_at(object, &["apiVersion"]).unwrap_or("");
        match (kind.as_str(), group.split('/').next().unwrap_or("")) {
            ("ClusterQueue", _) => trace.tenants.push(cluster_queue(object, &mut cohorts)),
            ("LocalQueue", _) => {
                if let (Some(name), Some(queue)) =
                    (text_at(object, &["metadata", "name"]), text_at(object, &["spec", "clusterQueue"]))
                {
                    queues.insert(name.to_owned(), queue.to_owned());
                }
            }
            ("Queue", "scheduling.volcano.sh") => trace.tenants.push(volcano_queue(object)),
            ("Job", "batch") => trace.jobs.push(batch_job(file, object)?),
            ("Job", "batch.volcano.sh") => trace.jobs.push(volcano_job(file, object)?),
            _ if object.is_null() => {}
            _ => *others.entry(kind).or_insert(0) += 1,
        }
    }
    for job in &mut trace.jobs {
        if let Some(queue) = queues.get(&job.tenant) {
            job.tenant.clone_from(queue);
        }
    }
    trace.jobs.retain(|job| job.chips > 0);
    trace
        .notes
        .extend(others.iter().map(|(kind, count)| format!("{count} objects of kind {kind} are left out")));
    Ok(trace)
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

fn text_at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str()
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn count_at(value: &Value, path: &[&str]) -> Option<u32> {
    let number = number(at(value, path)?)?;
    (0.0..=4e9).contains(&number).then_some(number as u32)
}

/// Accelerators among resources: `nvidia.com/gpu`, `huawei.com/Ascend910`, `amd.com/gpu`, `google.com/tpu`.
fn accelerators(resources: Option<&Value>) -> u32 {
    let Some(map) = resources.and_then(Value::as_mapping) else {
        return 0;
    };
    map.iter()
        .filter(|(key, _)| key.as_str().is_some_and(is_accelerator))
        .filter_map(|(_, value)| number(value))
        .sum::<f64>()
        .clamp(0.0, 4e9) as u32
}

fn is_accelerator(name: &str) -> bool {
    name.starts_with("huawei.com/")
        || name.ends_with("/gpu")
        || name.ends_with("/tpu")
        || name.ends_with("/neuron")
}

/// Chips of one pod.
fn pod(template: Option<&Value>) -> u32 {
    let containers =
        template.and_then(|value| at(value, &["spec", "containers"])).and_then(Value::as_sequence);
    let of = |container: &Value| {
        accelerators(at(container, &["resources", "requests"]))
            .max(accelerators(at(container, &["resources", "limits"])))
    };
    containers.map_or(0, |containers| containers.iter().map(of).fold(0, u32::saturating_add))
}

fn cluster_queue(object: &Value, cohorts: &mut Vec<String>) -> Tenant {
    let name = text_at(object, &["metadata", "name"]).unwrap_or("queue").to_owned();
    let cohort = text_at(object, &["spec", "cohort"]).or_else(|| text_at(object, &["spec", "cohortName"]));
    let cohort = cohort.map(|cohort| {
        let at = cohorts.iter().position(|known| known == cohort).unwrap_or_else(|| {
            cohorts.push(cohort.to_owned());
            cohorts.len() - 1
        });
        at as u32
    });
    let (mut quota, mut borrow) = (None, None);
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_sequence).cloned().unwrap_or_default();
    for group in object.get("spec").map(|spec| list(spec, "resourceGroups")).unwrap_or_default() {
        for flavor in list(&group, "flavors") {
            for resource in list(&flavor, "resources") {
                if text_at(&resource, &["name"]).is_some_and(is_accelerator) {
                    let nominal = count_at(&resource, &["nominalQuota"]).unwrap_or(0);
                    quota = Some(quota.unwrap_or(0u32).saturating_add(nominal));
                    borrow = count_at(&resource, &["borrowingLimit"]).or(borrow);
                }
            }
        }
    }
    let weight = at(object, &["spec", "fairSharing", "weight"]).and_then(number).unwrap_or(1.0);
    let borrow = borrow.unwrap_or(if cohort.is_some() { u32::MAX / 4 } else { 0 });
    Tenant { name, quota, borrow, cohort: cohort.filter(|_| quota.is_some()), weight: weight.max(1e-6) }
}

fn volcano_queue(object: &Value) -> Tenant {
    let name = text_at(object, &["metadata", "name"]).unwrap_or("queue");
    let weight = at(object, &["spec", "weight"]).and_then(number).unwrap_or(1.0);
    let capability = at(object, &["spec", "capability"]);
    let quota = Some(accelerators(capability)).filter(|chips| *chips > 0);
    Tenant { quota, weight: weight.max(1e-6), ..Tenant::open(name) }
}

/// What both kinds of job have.
fn job(file: &str, object: &Value, deadline: Option<f64>) -> Result<Imported, ClusterError> {
    let name = text_at(object, &["metadata", "name"])
        .or_else(|| text_at(object, &["metadata", "generateName"]))
        .unwrap_or("job")
        .to_owned();
    let annotation = |key: &str| text_at(object, &["metadata", "annotations", key]);
    let wrong = |key: &str, problem: String| ClusterError::Value {
        at: format!("{file}: job `{name}`: {key}"),
        problem,
    };
    let given = annotation("supernode/duration")
        .map(|text| text.parse::<Seconds>().map_err(|error| wrong("supernode/duration", error.to_string())))
        .transpose()?;
    let Some(duration) = given.map(Seconds::get).or(deadline) else {
        let problem =
            "a manifest does not say how long a job runs; add the annotation supernode/duration: \"2 h\"";
        return Err(wrong("metadata.annotations", problem.to_owned()));
    };
    let created = text_at(object, &["metadata", "creationTimestamp"]).and_then(super::timestamp);
    let template = at(object, &["spec", "template", "metadata", "annotations"]);
    let level = [(REQUIRED, true), (PREFERRED, false)].into_iter().find_map(|(key, required)| {
        let found = annotation(key).or_else(|| text_at(template?, &[key]))?;
        // A label such as `cloud.provider.com/topology-rack` names the level at its end.
        Some((found.rsplit(['/', '-']).next().unwrap_or(found).to_owned(), required))
    });
    Ok(Imported {
        name: name.clone(),
        tenant: "default".to_owned(),
        chips: 0,
        nodes: None,
        submit: created.unwrap_or(0.0),
        duration,
        limit: deadline,
        priority: 0,
        least: None,
        level,
    })
}

fn batch_job(file: &str, object: &Value) -> Result<Imported, ClusterError> {
    let deadline = at(object, &["spec", "activeDeadlineSeconds"]).and_then(number);
    let mut job = job(file, object, deadline)?;
    let pods = count_at(object, &["spec", "parallelism"]).unwrap_or(1);
    job.chips = pod(at(object, &["spec", "template"])).saturating_mul(pods);
    job.nodes = Some(pods).filter(|pods| *pods > 1);
    if let Some(queue) = text_at(object, &["metadata", "labels", QUEUE]) {
        queue.clone_into(&mut job.tenant);
    }
    Ok(job)
}

fn volcano_job(file: &str, object: &Value) -> Result<Imported, ClusterError> {
    let mut job = job(file, object, None)?;
    let tasks = at(object, &["spec", "tasks"]).and_then(Value::as_sequence);
    let (mut pods, mut per_pod) = (0u32, 0);
    for task in tasks.into_iter().flatten() {
        let (replicas, chips) = (count_at(task, &["replicas"]).unwrap_or(1), pod(task.get("template")));
        job.chips = job.chips.saturating_add(chips.saturating_mul(replicas));
        if chips > 0 {
            pods += replicas;
            per_pod = chips;
        }
    }
    if let Some(least) =
        count_at(object, &["spec", "minAvailable"]).filter(|least| *least > 0 && *least < pods)
    {
        job.least = Some(least.saturating_mul(per_pod));
    }
    if let Some(queue) = text_at(object, &["spec", "queue"]) {
        queue.clone_into(&mut job.tenant);
    }
    Ok(job)
}
