//! A disk that UEFI firmware boots: an EFI system partition with one small program, which says that it runs on the first
//! serial port and on the screen, and stops there.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tools;

/// Where the system partition begins.
const PARTITION: u64 = 1 << 20;
/// Bytes of the disk: the least that mtools makes a FAT16 of without being told how.
const DISK: u64 = 64 << 20;

/// Writes a raw disk with a partition table (MBR, type 0xef) and `\EFI\BOOT\BOOTX64.EFI`, which prints `mark`.
pub fn write_disk(file: &Path, mark: &str) -> Result<()> {
    let program = file.with_extension("efi");
    fs::write(&program, self::program(mark))?;
    let disk = File::create(file)?;
    disk.set_len(DISK)?;
    write_table(&disk).context("the partition table")?;
    let partition = format!("{}@@{PARTITION}", file.display());
    let sectors = ((DISK - PARTITION) / 512).to_string();
    tools::run(
        Command::new("mformat").args(["-i", &partition, "-T", &sectors, "-h", "16", "-s", "63", "::"]),
    )?;
    tools::run(Command::new("mmd").args(["-i", &partition, "::/EFI", "::/EFI/BOOT"]))?;
    tools::run(Command::new("mcopy").args(["-i", &partition]).arg(&program).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
    fs::remove_file(program)?;
    Ok(())
}

/// One partition to the end of the disk.
fn write_table(disk: &File) -> Result<()> {
    use std::os::unix::fs::FileExt;

    let mut entry = [0u8; 16];
    entry[4] = 0xef;
    entry[8..12].copy_from_slice(&u32::try_from(PARTITION / 512)?.to_le_bytes());
    entry[12..].copy_from_slice(&u32::try_from((DISK - PARTITION) / 512)?.to_le_bytes());
    disk.write_all_at(&entry, 446)?;
    disk.write_all_at(&[0x55, 0xaa], 510)?;
    Ok(())
}

/// Bytes of the headers, and of what is read from the file.
const ALIGNMENT: usize = 512;
/// Where the code lies in memory, relative to the image.
const CODE: u32 = 0x1000;

/// A PE32+ image for x86-64 of the subsystem "EFI application": headers, and one section with code and texts.
fn program(mark: &str) -> Vec<u8> {
    let text = code(mark);
    let length = u32::try_from(text.len()).expect("a short text");
    let mut image = vec![0u8; 0x40];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image.extend_from_slice(b"PE\0\0");
    // COFF: x86-64, one section, an optional header of 0xf0 bytes; executable, and may lie above 2 GiB.
    for field in [0x8664u16, 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x22] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(&[0x0b, 0x02, 0, 0]);
    let sections = length.next_multiple_of(0x1000);
    let read = length.next_multiple_of(ALIGNMENT as u32);
    // Code, data, data without bytes, entry, base of code.
    for field in [read, 0, 0, CODE, CODE] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.extend_from_slice(&0u64.to_le_bytes());
    // Alignment in memory and in the file, three versions, and one of Windows.
    for field in [0x1000, ALIGNMENT as u32, 0, 0, 0, 0, CODE + sections, ALIGNMENT as u32, 0] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    // Subsystem 10: EFI application.
    image.extend_from_slice(&[10, 0, 0, 0]);
    // Stack and heap, which firmware gives as it likes; flags; 16 data directories, all empty.
    image.extend_from_slice(&[0; 32]);
    image.extend_from_slice(&[0, 0, 0, 0, 16, 0, 0, 0]);
    image.extend_from_slice(&[0; 128]);
    image.extend_from_slice(b".text\0\0\0");
    for field in [length, CODE, read, ALIGNMENT as u32, 0, 0, 0, 0xe000_0020] {
        image.extend_from_slice(&field.to_le_bytes());
    }
    image.resize(ALIGNMENT, 0);
    image.extend_from_slice(&text);
    image.resize(ALIGNMENT + read as usize, 0);
    image
}

/// `efi_main` by the calling convention of UEFI: the system table comes in RDX.
fn code(mark: &str) -> Vec<u8> {
    #[rustfmt::skip]
    let mut code = vec![
        0x48, 0x83, 0xec, 0x28,             //       sub  rsp, 0x28
        0x49, 0x89, 0xd4,                   //       mov  r12, rdx
        0x48, 0x8d, 0x35, 0, 0, 0, 0,       //       lea  rsi, [rip + text]
        0x66, 0xba, 0xfd, 0x03,             // next: mov  dx, 0x3fd
        0xec,                               // wait: in   al, dx
        0xa8, 0x20,                         //       test al, 0x20         ; may the port take a byte?
        0x74, 0xfb,                         //       jz   wait
        0xac,                               //       lodsb
        0x84, 0xc0,                         //       test al, al
        0x74, 0x07,                         //       jz   done
        0x66, 0xba, 0xf8, 0x03,             //       mov  dx, 0x3f8
        0xee,                               //       out  dx, al
        0xeb, 0xeb,                         //       jmp  next
        0x49, 0x8b, 0x4c, 0x24, 0x40,       // done: mov  rcx, [r12 + 0x40] ; ConOut
        0x48, 0x8d, 0x15, 0, 0, 0, 0,       //       lea  rdx, [rip + wide]
        0xff, 0x51, 0x08,                   //       call [rcx + 8]         ; OutputString
        0xf4,                               // stop: hlt
        0xeb, 0xfd,                         //       jmp  stop
    ];
    let text = code.len();
    code.extend_from_slice(mark.as_bytes());
    code.extend_from_slice(b"\r\n\0");
    let wide = code.len();
    for unit in mark.encode_utf16().chain([0x0d, 0x0a, 0]) {
        code.extend_from_slice(&unit.to_le_bytes());
    }
    // Each is relative to the instruction behind it.
    for (place, target) in [(10, text), (43, wide)] {
        let distance = u32::try_from(target - (place + 4)).expect("a short text");
        code[place..place + 4].copy_from_slice(&distance.to_le_bytes());
    }
    code
}
