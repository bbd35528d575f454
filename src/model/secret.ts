import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

/** A named secret that connections refer to. */
const schema = defineEntity({
  name: 'Secret',
  tableName: 'secret',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    name: p.text(),
    projectId: p.text().strictNullable(),
    value: p.blob(),
    generation: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class Secret extends schema.class {
  /** Puts in a new value, sealed for `secretPlace` with the generation after the present one. */
  replaceValue(sealed: Buffer, now: Date): void {
    this.value = sealed;
    this.generation += 1;
    this.updateTime = now;
  }

  /** What events are about. */
  aggregate() {
    const { id, generation, projectId } = this;
    return { type: 'secret', id, generation, ownerUserId: null, projectId };
  }

  summary() {
    return { name: this.name, project_id: this.projectId, generation: this.generation };
  }
}
schema.setClass(Secret);

/** Where a secret's value is sealed for. */
export function secretPlace(tenantId: string, id: string, generation: number): Place {
  return { tenantId, table: 'secret', column: 'value', rowId: id, generation };
}
