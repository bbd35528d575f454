import { pointer } from '../../base/json-pointer.ts';
import type { LangflowDocument } from '../../clients/langflow/langflow.ts';
import type { JsonObject } from '../../model/json.ts';

/** A flow of Langflow. */
export type Flow = {
  id: string;
  name: string;
  description: string;
  folderId: string;
  endpointName: string;
  tags: string[];
  component: boolean;
  updateTime: Date | null;
  /** Nodes and edges; null: not asked for. */
  data: JsonObject | null;
};

/** A flow as Langflow answers it, whatever the version. */
export function flowFrom(document: LangflowDocument, { withData }: { withData: boolean }): Flow {
  const text = (name: string) => {
    const value = pointer(document, `/${name}`);
    return typeof value === 'string' ? value : '';
  };
  const tags = document.tags;
  const data = document.data;
  return {
    ...{ id: text('id'), name: text('name'), description: text('description'), folderId: text('folder_id') },
    endpointName: text('endpoint_name'),
    tags: Array.isArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : [],
    component: document.is_component === true,
    updateTime: timeFrom(text('updated_at')),
    data: withData ? ((typeof data === 'object' && data !== null ? data : {}) as JsonObject) : null,
  };
}

/** Some versions leave the zone out: it is UTC. */
function timeFrom(text: string): Date | null {
  const time = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(time.getTime()) ? null : time;
}
