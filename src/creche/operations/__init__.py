"""Scheduled production: the services of `creche up`, and the commands that talk to them.

| subject | modules |
| --- | --- |
| the services | `services` (the loop), `supervisor`, `managed_process`, `servers`, `drain` |
| | `local_pools`, `periodic_task` |
| their files | `service_state` (state and lock), `service_log`, `service_settings` |
| their addresses | `service_addresses`; `prefect_environment` sets them for Prefect |
| what a killed supervisor left | `orphans` |
| deploy/prefect.yaml of a new project | `default_deployments` |
| on the Prefect server | `deployments`, `automations`, `pools`, `flow_runs`, `finished_runs` |
| reconciliation | `run_reconciler`, `slot_reconciler`, `mlflow_reconciler` |
| processes | `run_processes` (of runs), `processes` |
| batches | `inbox` (scans), `inbox_folder` (files), `inbox_batch` (one scoring) |
| retention | `pruning` (of a whole project) |
| commands | `service_control` (up, down), `status`, `prefect_status`, `doctor`, `submit` |
| checks of `doctor` | `machine_checks`, `registry_checks`, `server_checks`, `inbox_checks` |
| | `issues` |
| a run on Prefect | `prefect_run` (steps as tasks), `artifacts` (its pages), `notifications` |
| a scoring on Prefect | `scoring_run`, `scoring_artifacts` |
| training in another pool | `remote_training` (in the run), `training_worker` (there) |
"""
