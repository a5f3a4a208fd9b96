/**
 * Cuts `patient.onnx` in two where the network begins, without a library for the format.
 *
 * The file names the tensor between normalisation and network `prepared` and describes it
 * (`export/patient.py`). The first half gets it as its output, the second as an input; of what
 * either does not need, the runtime rids itself. Slices can then go through the network a few at a
 * time, with progress, a way to stop, and memory that does not grow with their number.
 *
 * Reference: https://protobuf.dev/programming-guides/encoding and onnx.proto, where a model has
 * its graph in field 7, and a graph nodes in 1, inputs in 11, outputs in 12, other values in 13.
 */

export const PREPARED = 'prepared'

interface Field {
  number: number
  start: number // of the tag
  body: number // of the content
  end: number
}

function* fieldsOf(bytes: Uint8Array, at: number, end: number): Generator<Field> {
  const varint = () => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < end) {
    const start = at
    const tag = varint()
    let body = at
    const wire = tag & 7
    if (wire === 2) {
      const size = varint()
      body = at
      at += size
    } else if (wire === 0) varint()
    else if (wire === 5) at += 4
    else if (wire === 1) at += 8
    else throw new Error('patient.onnx: not a file of ONNX')
    yield { number: tag >>> 3, start, body, end: at }
  }
}

/** Texts of one field of a message: the outputs of a node (2), the name of a value (1). */
function textsIn(bytes: Uint8Array, message: Field, number: number): string[] {
  const fields = [...fieldsOf(bytes, message.body, message.end)].filter((field) => field.number === number)
  return fields.map((field) => new TextDecoder().decode(bytes.subarray(field.body, field.end)))
}

function varintBytes(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varintBytes(Math.floor(value / 128))]
}

const NODE = 1, INPUT = 11, OUTPUT = 12, VALUE = 13

export function cutModel(model: Uint8Array): { first: Uint8Array; second: Uint8Array } {
  const outer = [...fieldsOf(model, 0, model.length)]
  const graph = outer.find((field) => field.number === 7)
  const inner = graph ? [...fieldsOf(model, graph.body, graph.end)] : []
  const isPrepared = (field: Field, number: number, name: number) =>
    field.number === number && textsIn(model, field, name).includes(PREPARED)
  const value = inner.find((field) => isPrepared(field, VALUE, 1))
  const maker = inner.find((field) => isPrepared(field, NODE, 2))
  if (!graph || !value || !maker) throw new Error('patient.onnx: not one that agd-export wrote')

  const assemble = (left: Set<Field>, number: number) => {
    const parts = inner.filter((field) => !left.has(field)).map((field) => model.subarray(field.start, field.end))
    const content = model.subarray(value.body, value.end)
    parts.push(Uint8Array.from([(number << 3) | 2, ...varintBytes(content.length)]), content)
    const size = parts.reduce((sum, part) => sum + part.length, 0)
    const around = outer.filter((field) => field !== graph).map((field) => model.subarray(field.start, field.end))
    return concatenate([...around, Uint8Array.from([(7 << 3) | 2, ...varintBytes(size)]), ...parts])
  }
  const outputs = inner.filter((field) => field.number === OUTPUT)
  return {
    first: assemble(new Set([value, ...outputs]), OUTPUT),
    second: assemble(new Set([value, maker]), INPUT),
  }
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
