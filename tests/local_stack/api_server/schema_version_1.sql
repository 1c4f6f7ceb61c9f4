-- A database as version 0.1.0 of the server created it.
CREATE TABLE experiments (
    "UUID" TEXT NOT NULL,
    "Name" TEXT NOT NULL,
    "Description" TEXT NOT NULL,
    "CreatedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "LastRunCreatedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "Namespace" TEXT NOT NULL,
    "StorageState" TEXT NOT NULL,
    PRIMARY KEY ("UUID")
);
CREATE UNIQUE INDEX idx_name_namespace ON experiments ("Name", "Namespace");
CREATE TABLE default_experiments (
    "DefaultExperimentId" TEXT NOT NULL,
    PRIMARY KEY ("DefaultExperimentId")
);
CREATE TABLE run_details (
    "UUID" TEXT NOT NULL,
    "DisplayName" TEXT NOT NULL,
    "Name" TEXT NOT NULL,
    "Description" TEXT NOT NULL,
    "ServiceAccount" TEXT NOT NULL,
    "Namespace" TEXT NOT NULL,
    "ExperimentUUID" TEXT NOT NULL,
    "StorageState" TEXT NOT NULL,
    "State" TEXT NOT NULL,
    "Conditions" TEXT NOT NULL,
    "CreatedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "ScheduledAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "FinishedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "StateHistory" TEXT NOT NULL,
    "PipelineSpecManifest" TEXT NOT NULL,
    "RuntimeParameters" TEXT NOT NULL,
    "PipelineRoot" TEXT NOT NULL,
    "PluginsInput" TEXT NOT NULL,
    "PipelineId" TEXT,
    "PipelineVersionId" TEXT,
    "PipelineName" TEXT,
    "JobUUID" TEXT NOT NULL,
    PRIMARY KEY ("UUID")
);
CREATE INDEX idx_run_experiment_created ON run_details ("ExperimentUUID", "CreatedAtInSec", "UUID");
CREATE INDEX idx_run_created ON run_details ("CreatedAtInSec", "UUID");
CREATE TABLE artifacts (
    "UUID" TEXT NOT NULL,
    "Namespace" TEXT NOT NULL,
    "Type" INTEGER,
    "URI" TEXT,
    "URIHash" TEXT,
    "Name" TEXT,
    "Description" TEXT,
    "CreatedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "LastUpdateInSec" INTEGER DEFAULT '0' NOT NULL,
    "Metadata" TEXT,
    "NumberValue" FLOAT,
    "IdentityKey" TEXT,
    PRIMARY KEY ("UUID")
);
CREATE INDEX idx_artifact_last_update_timestamp ON artifacts ("LastUpdateInSec");
CREATE UNIQUE INDEX idx_artifact_identity ON artifacts ("Namespace", "IdentityKey");
CREATE INDEX idx_artifact_created_timestamp ON artifacts ("CreatedAtInSec", "UUID");
CREATE INDEX idx_type_namespace ON artifacts ("Namespace", "Type");
CREATE INDEX idx_namespace_urihash ON artifacts ("Namespace", "URIHash");
CREATE TABLE tasks (
    "UUID" TEXT NOT NULL,
    "Namespace" TEXT NOT NULL,
    "RunUUID" TEXT NOT NULL,
    "Pods" TEXT NOT NULL,
    "CreatedAtInSec" INTEGER DEFAULT '0' NOT NULL,
    "StartedInSec" INTEGER DEFAULT '0',
    "FinishedInSec" INTEGER DEFAULT '0',
    "Fingerprint" TEXT NOT NULL,
    "Name" TEXT,
    "DisplayName" TEXT,
    "ParentTaskUUID" TEXT,
    "State" INTEGER NOT NULL,
    "StatusMetadata" TEXT,
    "StateHistory" TEXT,
    "InputParameters" TEXT,
    "OutputParameters" TEXT,
    "Type" INTEGER NOT NULL,
    "TypeAttrs" TEXT NOT NULL,
    "IterationIndex" INTEGER,
    "ScopePath" TEXT,
    "LogicalKey" TEXT,
    PRIMARY KEY ("UUID"),
    FOREIGN KEY("RunUUID") REFERENCES run_details ("UUID") ON DELETE CASCADE,
    FOREIGN KEY("ParentTaskUUID") REFERENCES tasks ("UUID") ON DELETE CASCADE
);
CREATE INDEX idx_task_cache_lookup ON tasks ("Fingerprint", "State", "Namespace", "CreatedAtInSec" DESC);
CREATE UNIQUE INDEX idx_tasks_uuid_run ON tasks ("UUID", "RunUUID");
CREATE INDEX idx_task_created_timestamp ON tasks ("CreatedAtInSec");
CREATE INDEX idx_run_state_parent ON tasks ("RunUUID", "State", "ParentTaskUUID");
CREATE INDEX idx_task_started_timestamp ON tasks ("StartedInSec");
CREATE INDEX idx_run_created_order ON tasks ("RunUUID", "CreatedAtInSec", "UUID");
CREATE INDEX idx_parent_name ON tasks ("ParentTaskUUID", "Name", "IterationIndex");
CREATE INDEX idx_task_type ON tasks ("Type");
CREATE INDEX idx_parent_run ON tasks ("RunUUID", "ParentTaskUUID", "CreatedAtInSec", "UUID", "Name");
CREATE INDEX idx_task_finished_timestamp ON tasks ("FinishedInSec");
CREATE UNIQUE INDEX idx_tasks_logical_key ON tasks ("LogicalKey");
CREATE INDEX idx_parent_task_uuid ON tasks ("ParentTaskUUID");
CREATE TABLE artifact_tasks (
    "UUID" TEXT NOT NULL,
    "ArtifactID" TEXT NOT NULL,
    "TaskID" TEXT NOT NULL,
    "RunUUID" TEXT NOT NULL,
    "Type" INTEGER NOT NULL,
    "Iteration" INTEGER DEFAULT '-1' NOT NULL,
    "Producer" TEXT,
    "ArtifactKey" TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY ("UUID"),
    FOREIGN KEY("TaskID", "RunUUID") REFERENCES tasks ("UUID", "RunUUID") ON DELETE CASCADE,
    CONSTRAINT "UniqueLink" UNIQUE ("ArtifactID", "TaskID", "Type", "Iteration", "ArtifactKey"),
    FOREIGN KEY("ArtifactID") REFERENCES artifacts ("UUID") ON DELETE CASCADE,
    FOREIGN KEY("RunUUID") REFERENCES run_details ("UUID") ON DELETE CASCADE
);
CREATE INDEX idx_link_run_id ON artifact_tasks ("RunUUID");
CREATE INDEX idx_link_artifact_id ON artifact_tasks ("ArtifactID");
CREATE INDEX idx_link_task_run ON artifact_tasks ("TaskID", "RunUUID");
PRAGMA user_version = 1;
