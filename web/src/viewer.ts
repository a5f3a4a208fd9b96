/** NiiVue, with the layers of a case by name. */

import { NVImage, Niivue } from '@niivue/niivue'

/** How layers are drawn; the colours are told apart also by those who see few. */
export const LOOKS = {
  prediction: { colors: ['#ff8c1a'], opacity: 0.45 },
  truth: { colors: ['#35c2ff'], opacity: 0.4 },
  probability: { colors: ['#000004', '#781c6d', '#ed6925', '#fcffa4'], opacity: 0.6 },
  uncertainty: { colors: ['#0d0887', '#9c179e', '#ed7953', '#f0f921'], opacity: 0.6 },
  edge: { colors: ['#003b20', '#1db954', '#d9ffe6'], opacity: 0.6 },
  attention: { colors: ['#10204a', '#2f6fde', '#dff1ff'], opacity: 0.5 },
} as const
export type Look = keyof typeof LOOKS

export interface Layer {
  name: string
  look: Look
  shown: boolean
  opacity: number
  bottom: number // values below are transparent
  image: NVImage
}

// NiiVue looks at every voxel for the range of the values, and the page would wait: all volumes here
// come with it in their headers.
NVImage.prototype.calMinMax = function (this: NVImage): number[] {
  const { cal_min: low, cal_max: high } = this.hdr ?? { cal_min: 0, cal_max: 1 }
  this.cal_min = this.robust_min = this.global_min = low
  this.cal_max = this.robust_max = this.global_max = high
  return [low, high, low, high]
}

const rgb = (color: string) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))

export class Viewer {
  readonly layers = new Map<string, Layer>()
  private readonly nv: Niivue
  private waiting = false

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly onMove: (slice: number, slices: number) => void,
  ) {
    this.nv = new Niivue({
      ...{ dragAndDropEnabled: false, loadingText: '', logLevel: 'error', isRadiologicalConvention: true },
      ...{ backColor: [0.043, 0.055, 0.071, 1], crosshairColor: [0.18, 0.83, 0.75, 0.8], crosshairWidth: 0.6, crosshairGap: 8, crosshairWidthUnit: 'mm' },
      ...{ fontColor: [0.77, 0.82, 0.85, 1], multiplanarShowRender: 1, multiplanarLayout: 2, multiplanarPadPixels: 6, tileMargin: 4, show3Dcrosshair: false },
      ...{ isColorbar: false, sagittalNoseLeft: true },
    })
    for (const [name, { colors }] of Object.entries(LOOKS)) this.nv.addColormap(name, colormapOf(colors))
    this.nv.onLocationChange = () => this.told()
  }

  async start(): Promise<void> {
    await this.nv.attachToCanvas(this.canvas, false)
  }

  get ready(): boolean {
    return this.nv.volumes.length > 0
  }

  /** Shows a scan, and nothing else any more; its header has the window. */
  async setScan(bytes: ArrayBuffer): Promise<void> {
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume)
    this.layers.clear()
    this.nv.addVolume(await read(bytes, 'scan', 'gray'))
    this.nv.scene.crosshairPos[2] = 0.5
    this.nv.setSliceType(this.nv.opts.sliceType)
    this.told()
  }

  /** Lays values over the scan, for the graphics card once they are to be seen. */
  async setLayer(name: string, look: Look, bytes: ArrayBuffer, bottom: number, shown: boolean): Promise<void> {
    const image = await read(bytes, name, look)
    const { opacity } = LOOKS[look]
    image.colormapType = 2 // from 0; below the least value transparent
    image.cal_min = bottom
    image.opacity = shown ? opacity : 0
    this.layers.set(name, { name, look, shown, opacity, bottom, image })
    if (shown) this.nv.addVolume(image)
  }

  change(name: string, change: Partial<Pick<Layer, 'shown' | 'opacity' | 'bottom'>>): void {
    const layer = this.layers.get(name)
    if (!layer) return
    Object.assign(layer, change)
    layer.image.opacity = layer.shown ? layer.opacity : 0
    layer.image.cal_min = layer.bottom
    if (layer.shown && !this.nv.volumes.includes(layer.image)) this.nv.addVolume(layer.image)
    if (this.waiting) return
    this.waiting = true
    requestAnimationFrame(() => {
      this.waiting = false
      this.nv.updateGLVolume()
    })
  }

  setPlanes(planes: number): void {
    this.nv.setSliceType(planes)
  }

  /** Goes to an axial slice, from 1. */
  setSlice(slice: number): void {
    this.nv.scene.crosshairPos[2] = (slice - 0.5) / this.slices
    this.nv.drawScene()
    this.told()
  }

  /** Steps right, forward and up, in voxels. */
  move(x: number, y: number, z: number): void {
    this.nv.moveCrosshairInVox(x, y, z)
    this.told()
  }

  /** Goes to a place in mm. */
  goTo(mm: [number, number, number]): void {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm)
    this.nv.drawScene()
    this.told()
  }

  private get slices(): number {
    return this.nv.volumes[0]?.dimsRAS?.[3] ?? 1
  }

  private told(): void {
    if (!this.ready) return
    const slice = Math.floor(this.nv.scene.crosshairPos[2] * this.slices) + 1
    this.onMove(Math.max(1, Math.min(this.slices, slice)), this.slices)
  }
}

/** Colours at even distances; nothing at all at 0. */
function colormapOf(colors: readonly string[]) {
  const points = [colors[0], ...colors, ...(colors.length > 1 ? [] : colors)]
  const last = points.length - 2
  const [R, G, B] = [0, 1, 2].map((channel) => points.map((color) => rgb(color)[channel]))
  const I = points.map((_, i) => (i ? Math.max(1, Math.round((255 * (i - 1)) / last)) : 0))
  return { R, G, B, A: points.map((_, i) => (i ? 255 : 0)), I }
}

function read(bytes: ArrayBuffer, name: string, colormap: string): Promise<NVImage> {
  const file = new File([bytes], 'volume.nii') // a name of ours: those of files are only ever text
  return NVImage.loadFromFile({ file, name: `${name}.nii`, colormap })
}
