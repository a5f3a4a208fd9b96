/** What `dicom.ts` uses of a module that has no types of its own. */
declare module '@niivue/dcm2niix' {
  interface Conversion {
    b(value: string): Conversion
    z(value: string): Conversion
    f(value: string): Conversion
    run(): Promise<File[]>
  }
  export class Dcm2niix {
    worker: Worker | null
    init(): Promise<boolean>
    input(files: File[]): Conversion
  }
}
