"""The pipeline IR as frozen pydantic models: PipelineSpec, ExecutorInput, KubernetesExecutorConfig.

Checked by tests against the published ``kfp-pipeline-spec`` and ``kfp-kubernetes`` packages; no
``.proto`` and no generated file is part of this project.
"""
