"""PipelineSpec to Argo Workflow: plugin templates instead of driver pods."""
