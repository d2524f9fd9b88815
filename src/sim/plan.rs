//! From a document to runs: names are looked up, defaults filled in, and everything that cannot be honoured is refused here.

use std::sync::Arc;

use super::disaggregation::{self, PoolsPlan};
use super::encode;
use super::entry::{self, Context, ReplicaPlan};
use super::fleet::{self, Group};
use super::hardware::Hardware;
use super::operations;
use super::operations::plan::{OperationsPlan, Scale};
use crate::catalog::{self, Catalog, Model};
use crate::cluster::RouterSpec;
use crate::config::schema::{Comparison, Economics, FrameworkEntry, FrameworkKind, LoadBalancing, OwnCalibration, Workload};
use crate::config::{self, Diagnostic, Document};
use crate::metrics::{ReplicaInfo, RunEconomics, RunInfo};
use crate::workload::{self, SourceSpec, Trace, Upload};

/// Files a document names, from disk or dropped on the page.
pub trait Files {
    /// The file's bytes, or why they cannot be had, in words.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// For documents that name no file.
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("there is no {path}"))
    }
}

/// Everything needed to simulate one entry (or the shared group of entries).
#[derive(Clone, Debug)]
pub struct RunPlan {
    pub name: String,
    /// Jump over steps with an unchanged batch; off takes every step singly, with the same result to the bit.
    pub fast_path: bool,
    pub(super) source: SourceSpec,
    pub(super) replicas: Vec<ReplicaPlan>,
    pub(super) router: RouterSpec,
    /// The replicas are a prefill pool and a decode pool; `router` is that of the first.
    pub(super) pools: Option<PoolsPlan>,
    /// Images are encoded before the router.
    pub(super) encode: Option<encode::EncodePlan>,
    /// None where the document asks for nothing of it.
    pub(super) operations: Option<OperationsPlan>,
    pub(super) max_simulation_time_s: Option<f64>,
    /// How long requests come in, for progress, where the document says.
    pub(super) expected_duration_s: Option<f64>,
    pub(super) warm_up_s: f64,
    pub(super) info: RunInfo,
}

impl RunPlan {
    /// The replicas, as results will describe them.
    pub fn replicas(&self) -> &[ReplicaInfo] {
        &self.info.replicas
    }
}

/// A document made ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub runs: Vec<RunPlan>,
    pub warnings: Vec<Diagnostic>,
    /// Rough number of work units (`Simulation::advance`) of all runs, so that a page can ask before a long one.
    pub estimated_work: u64,
}

/// An arrival, its steps with prefill, its end and the decode runs between: about so many work units a request.
const WORK_UNITS_PER_REQUEST: u64 = 4;
/// Taken for the number of requests where nothing bounds it beforehand.
const UNKNOWN_REQUESTS: u64 = 10_000;

/// Makes a document ready to run, or says everything that stands in the way.
pub fn plan(document: &Document, files: &dyn Files) -> Result<Plan, Vec<Diagnostic>> {
    let catalog = catalog::builtin();
    let mut errors = Vec::new();
    let mut warnings = Vec::new();

    let workload = config::resolve_workload(&document.workload).map_err(|error| errors.push(error)).ok();
    let trace = workload.as_ref().and_then(|workload| read_trace(workload, files, &mut errors));
    let models = own_models(document, files, &mut warnings);
    let hardware = match Hardware::new(&document.hardware_profile, catalog, &mut warnings) {
        Ok(hardware) => hardware,
        Err(found) => {
            errors.extend(found);
            return Err(errors);
        }
    };
    let economics = document.economics.clone().unwrap_or_default();
    let electricity = electricity(&economics, catalog).map_err(|error| errors.push(error)).unwrap_or_default();
    let adapters = workload.as_ref().map_or(Ok(Vec::new()), |workload| workload::adapters(workload, trace.as_deref()));
    let adapters = adapters.map_err(|error| errors.push(error)).unwrap_or_default();
    let context = Context { catalog, hardware: &hardware, models: &models, economics: &economics, adapters: &adapters };

    let images = workload.as_ref().and_then(|workload| workload.images.as_ref()).map(|images| images.tokens_per_image);
    let shared = document.simulation.comparison == Some(Comparison::Shared);
    let mut groups = Vec::new();
    for (index, entry) in document.frameworks_to_test.iter().enumerate() {
        let path = format!("frameworks_to_test[{index}]");
        if entry.is_target_for_workload == Some(false) {
            warnings.push(Diagnostic::warning(
                path,
                format!("{} is no target of the workload and is not simulated", entry.name),
                "take `is_target_for_workload` out to simulate it",
            ));
            continue;
        }
        match with_calibration(entry, files, &path) {
            Ok(entry) => {
                if shared && entry.config.disaggregation.is_some() {
                    let message = "prefill and decode pools are not modelled in a shared comparison";
                    errors.push(Diagnostic::error(format!("{path}.config.disaggregation"), message, "compare side by side"));
                    continue;
                }
                let before = groups.len();
                operations::plan::unused_startup(document, &entry, &path, &mut warnings);
                if let Some(wanted) = &entry.config.disaggregation {
                    groups.extend(disaggregation::group(&context, &entry, wanted, &path, &mut errors, &mut warnings));
                    beside_engines(&context, &entry, images, groups.get_mut(before), &path, &mut errors, &mut warnings);
                    continue;
                }
                let own = entry.router.is_some() || entry.planner.is_some() || entry.autoscaler.is_some();
                if shared && (own || entry.kind == FrameworkKind::Dynamo) {
                    let message = "in a shared comparison all entries are behind one load balancer";
                    let hint = "say workload.load_balancing_strategy, or compare side by side";
                    errors.push(Diagnostic::error(path, message, hint));
                    continue;
                }
                let replica = entry::replica(&context, &entry, &path, &mut errors, &mut warnings);
                match replica.map(|replica| fleet::group(&entry, replica, &hardware, &path, &mut warnings)) {
                    Some(Ok(group)) => groups.push(group),
                    Some(Err(error)) => errors.push(error),
                    None => {}
                }
                if shared && images.is_some() {
                    errors.push(Diagnostic::error("workload.images", "is not modelled in a shared comparison", "compare side by side"));
                }
                beside_engines(&context, &entry, images, groups.get_mut(before), &path, &mut errors, &mut warnings);
            }
            Err(error) => errors.push(error),
        }
    }
    if groups.is_empty() && errors.is_empty() {
        let hint = "remove `is_target_for_workload: false` from one entry";
        errors.push(Diagnostic::error("frameworks_to_test", "No frameworks marked as workload targets", hint));
    }
    if let Some(workload) = &workload
        && workload.trace.is_none()
        && workload.total_duration.is_none()
        && workload.total_requests_to_generate.is_none()
        && document.simulation.max_simulation_time.is_none()
    {
        let hint = "set workload.total_requests_to_generate, workload.total_duration or simulation.max_simulation_time";
        errors.push(Diagnostic::error("workload", "nothing ends this experiment", hint));
    }
    let Some(workload) = workload.filter(|_| errors.is_empty()) else { return Err(errors) };

    if shared {
        let mut scale = Scale::default();
        groups.iter().for_each(|group| scale.join(&group.scale));
        let replicas = groups.into_iter().flat_map(|group| group.replicas).collect();
        groups = vec![Group { replicas, router: None, pools: None, scale, encode: None }];
    }
    let mut runs = Vec::new();
    let mut estimated_work: u64 = 0;
    for group in groups {
        let operations = operations::plan::operations(document, &workload, &group, &mut warnings).map_err(|error| vec![error])?;
        let run = run(document, &workload, trace.clone(), &hardware, electricity.clone(), group, operations);
        // Every distribution, rate and pattern is checked by making the source once.
        let source = workload::source(&run.source)?;
        if runs.is_empty() {
            // The same requests for every run, so the same words about them.
            warnings.extend(source.warnings());
        }
        let requests = source.expected_requests().unwrap_or(UNKNOWN_REQUESTS);
        estimated_work = estimated_work.saturating_add(requests.saturating_mul(WORK_UNITS_PER_REQUEST));
        runs.push(run);
    }
    Ok(Plan { runs, warnings, estimated_work })
}

/// Plans who encodes the images of an entry's prompts, and looks whether host memory suffices.
fn beside_engines(
    context: &Context<'_>,
    entry: &FrameworkEntry,
    images: Option<u32>,
    group: Option<&mut Group>,
    path: &str,
    errors: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) {
    let Some(group) = group else { return };
    // In pools, prompts are computed by the first one, or by any.
    errors.extend(entry::host_memory(&group.replicas, context.hardware, path, warnings));
    match encode::plan(context, entry, &mut group.replicas, images, path, warnings) {
        Ok(planned) => group.encode = planned,
        Err(error) => errors.push(error),
    }
}

fn run(
    document: &Document,
    workload: &Workload,
    trace: Option<Arc<Trace>>,
    hardware: &Hardware<'_>,
    electricity: RunEconomics,
    group: Group,
    operations: Option<OperationsPlan>,
) -> RunPlan {
    let Group { replicas, router, pools, encode, .. } = group;
    let seed = document.simulation.random_seed.unwrap_or(0);
    let metrics = document.metrics_config.clone().unwrap_or_default();
    let bytes_per_token = workload.bytes_per_token_estimate_for_network.unwrap_or(0.0);
    let upload = hardware.client_link().filter(|_| bytes_per_token > 0.0).map(|link| Upload {
        latency: link.latency,
        bits_per_s: link.bits_per_s,
        bytes_per_token,
    });
    let profiles = workload.client_profiles.as_deref().unwrap_or_default();
    let names: Vec<&str> = replicas.iter().map(|replica| replica.info.entry.as_str()).collect();
    let mut distinct = names.clone();
    distinct.dedup();
    let name = distinct.join(" + ");
    let weight = |name: &&str| workload.framework_weights.as_ref().and_then(|weights| weights.get(*name)).copied().unwrap_or(1.0);
    let mut confidence: Vec<&str> = replicas.iter().map(|replica| replica.confidence.as_str()).collect();
    confidence.dedup();
    let trace_duration_s = trace.as_ref().map(|trace| trace.duration().as_s() / workload.rate_scale.unwrap_or(1.0));
    let expected_duration_s = workload.total_duration.or(trace_duration_s).or(document.simulation.max_simulation_time);
    RunPlan {
        name: name.clone(),
        fast_path: true,
        source: SourceSpec {
            workload: workload.clone(),
            seed,
            trace,
            upload,
            api_time: replicas.iter().map(|replica| replica.api_time).max().unwrap_or_default(),
            api_time_per_token: replicas.iter().map(|replica| replica.api_time_per_token).max().unwrap_or_default(),
        },
        operations,
        router: router.unwrap_or_else(|| {
            let weights: Vec<f64> = names.iter().map(weight).collect();
            RouterSpec::of_strategy(workload.load_balancing_strategy.unwrap_or(LoadBalancing::RoundRobin), &weights)
        }),
        pools,
        max_simulation_time_s: document.simulation.max_simulation_time,
        expected_duration_s: expected_duration_s.filter(|duration| *duration > 0.0),
        warm_up_s: metrics.warm_up_duration_s.unwrap_or(0.0),
        info: RunInfo {
            encode_pool: encode.as_ref().map(|encode| encode.info.clone()),
            name,
            percentiles: metrics.percentiles_to_calculate.unwrap_or_default(),
            slo: metrics.slo,
            profiles: profiles.iter().map(|profile| profile.profile_name.clone()).collect(),
            seed,
            confidence: confidence.join(", "),
            economics: electricity,
            replicas: replicas.iter().map(|replica| replica.info.clone()).collect(),
        },
        encode,
        replicas,
    }
}

/// What a kilowatt-hour emits: the document's number, else its grid's, else the world's mean.
fn electricity(economics: &Economics, catalog: &Catalog) -> Result<RunEconomics, Diagnostic> {
    let pue = economics.pue.unwrap_or(1.0);
    if let Some(gco2_per_kwh) = economics.gco2_per_kwh {
        if economics.grid.is_some() {
            return Err(Diagnostic::error("economics.grid", "is given beside gco2_per_kwh", "keep one of the two"));
        }
        return Ok(RunEconomics { grid: "given in the document".to_owned(), gco2_per_kwh, pue });
    }
    let grid = catalog.grid(economics.grid.as_deref().unwrap_or("world")).map_err(|unknown| {
        let known: Vec<&str> = catalog.prices.grids.iter().map(|grid| grid.name.as_str()).collect();
        Diagnostic::error("economics.grid", unknown.to_string(), format!("one of {}, or give gco2_per_kwh", known.join(", ")))
    })?;
    Ok(RunEconomics { grid: format!("{} {}", grid.name, grid.as_of), gco2_per_kwh: grid.gco2_per_kwh, pue })
}

fn read_trace(workload: &Workload, files: &dyn Files, errors: &mut Vec<Diagnostic>) -> Option<Arc<Trace>> {
    let replay = workload.trace.as_ref()?;
    let bytes = match files.read(&replay.path) {
        Ok(bytes) => bytes,
        Err(why) => {
            errors.push(Diagnostic::error("workload.trace.path", why, "give a file beside the document, or drop it on the page"));
            return None;
        }
    };
    match Trace::parse(&bytes, replay.format) {
        Ok(trace) => Some(Arc::new(trace)),
        Err(found) => {
            errors.extend(found);
            None
        }
    }
}

/// The entry with the factors that its `calibration.file` holds in place of the file.
fn with_calibration(entry: &FrameworkEntry, files: &dyn Files, path: &str) -> Result<FrameworkEntry, Diagnostic> {
    let mut entry = entry.clone();
    let Some(calibration) = &entry.config.calibration else { return Ok(entry) };
    let Some(file) = &calibration.file else { return Ok(entry) };
    let at = format!("{path}.config.calibration.file");
    let factors = [calibration.device_time, calibration.host_time, calibration.launch_time, calibration.expert_skew, calibration.tier_rate];
    if factors.iter().any(Option::is_some) || calibration.per_request_ms.is_some() {
        return Err(Diagnostic::error(at, "is given beside the factors themselves", "keep one of the two"));
    }
    let hint = "such a file holds `{\"device_time\": 1.1, \"host_time\": 0.9}`";
    let bytes = files.read(file).map_err(|why| Diagnostic::error(&at, why, hint))?;
    let value = serde_json::from_slice::<serde_json::Value>(&bytes);
    let read: OwnCalibration = value
        .and_then(crate::from_json::from_value)
        .map_err(|error| Diagnostic::error(&at, format!("{file} holds no calibration: {error}"), hint))?;
    let sound = |factor: Option<f64>| factor.is_none_or(|factor| (0.01..=1000.0).contains(&factor));
    let request = read.per_request_ms.is_none_or(|ms| (0.0..=60_000.0).contains(&ms));
    if read.file.is_some()
        || !sound(read.device_time)
        || !sound(read.host_time)
        || !sound(read.launch_time)
        || !sound(read.tier_rate)
        || !request
    {
        return Err(Diagnostic::error(
            at,
            format!("{file} holds no factors from 0.01 to 1000, or a per_request_ms that is not from 0 to 60000"),
            hint,
        ));
    }
    entry.config.calibration = Some(read);
    Ok(entry)
}

/// The document's own model database, when there is one to read; the catalog knows the original project's twelve models.
fn own_models(document: &Document, files: &dyn Files, warnings: &mut Vec<Diagnostic>) -> Vec<Model> {
    let Some(path) = &document.model_characteristics_db_path else { return Vec::new() };
    let at = "model_characteristics_db_path";
    let models = files.read(path).and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|_| format!("{path} is not text"))?;
        catalog::original_models(&text).map_err(|faults| faults.join("; "))
    });
    models.unwrap_or_else(|why| {
        warnings.push(Diagnostic::warning(at, format!("the built-in models are used: {why}"), "leave the key out to use them silently"));
        Vec::new()
    })
}
